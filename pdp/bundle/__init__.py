"""The policy bundle as the PDP sees it: fetched, verified, kept current. Design section 6.

    keeper = BundleKeeper(BundleSettings(...), EvaluationLimits(), time.time_ns)
    result = keeper.start()     # PollResult; raises what stops the process
    result = keeper.poll()      # PollResult; blocking, bounded in time, never raises
    snapshot = keeper.current() # Snapshot | None; one attribute read, any thread
    keeper.close()

INVARIANT: a `Snapshot` comes out of `BundleKeeper` only (`BundleFollower`, a
worker's, is one), and out of bytes whose signatures were checked against the
embedded root on this very path. There is no second path, no flag and no mode.

Reading order: settings, store (where bytes come from), trust (TUF), freshness
(our own checks), manifest, denials and contents (what the bytes mean), memory
(what survives), keeper (the order of it all), follower (the same in a worker).
No module here can sign: that is `pdp.publishing`.
"""

from pdp.bundle.follower import BundleFollower
from pdp.bundle.keeper import BundleKeeper, PollOutcome, PollResult
from pdp.bundle.settings import BundleLimits, BundleSettings

__all__ = [
    "BundleFollower",
    "BundleKeeper",
    "BundleLimits",
    "BundleSettings",
    "PollOutcome",
    "PollResult",
]
