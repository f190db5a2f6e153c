"""Peers that go wrong, as the fail-safe conformance kit has them: see `pdp.failsafe`."""

from pdp.failsafe.answers import (
    BATCH_SPOILED,
    BOMB_BYTES,
    MANGLED,
    ONE_ALONE,
    OVERSIZE_BYTES,
    SERVICE,
    SPOILED,
    VARIED,
    honest_batch,
    honest_permit,
)
from pdp.failsafe.firing_range import ClientFiles, FiringRange
from pdp.failsafe.listeners import (
    Garbage,
    Listener,
    Plan,
    Proxy,
    Silent,
    SilentAfterTls,
    refusing,
)
from pdp.failsafe.scripted_pdp import Script, ScriptedPdp

__all__ = [
    "BATCH_SPOILED",
    "BOMB_BYTES",
    "MANGLED",
    "ONE_ALONE",
    "OVERSIZE_BYTES",
    "SERVICE",
    "SPOILED",
    "VARIED",
    "ClientFiles",
    "FiringRange",
    "Garbage",
    "Listener",
    "Plan",
    "Proxy",
    "Script",
    "ScriptedPdp",
    "Silent",
    "SilentAfterTls",
    "honest_batch",
    "honest_permit",
    "refusing",
]
