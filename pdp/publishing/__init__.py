"""Building, signing and publishing bundles. The only holder of policy-signing keys.

Nothing the server imports may import this package; `tests/test_architecture.py`
holds that. Reading order: plan (who signs what), tenants (one plan
from another), keyring (keys), building
(sources to archive, and back to check it), repository (the directory: what is
there and verified), edition (the next state: signed, then written in an order
that is safe for readers), releasing (init, publish, freshen), inspection
(what `pdp bundle show` prints).
"""
