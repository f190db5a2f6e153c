"""Attributes as they stand in a record, kept where the same ones are written again and again.

The same department, the same roles, the same status are in one record after the other, and to
encode them takes longer than to decide by them. What is kept is a function of the value alone, so
that a record says the same with it and without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pdp.v1 import audit_pb2
from pdp.value_codec import map_to_pb
from pdp.values import Timestamp, Value

# However many different ones there are: then it begins anew.
_KEPT_MAX: Final = 4_096
# What is longer is not what comes again and again.
_BYTES_MAX: Final = 1_024
_TEXT_MAX: Final = 256
# Of these, equal values of one kind are one value. Floats are not among them: 0.0 equals -0.0.
_BY_VALUE: Final = frozenset({int, bool, Timestamp})

_Key = tuple[str, type, object]


class EncodedAttributes:
    """For one event loop."""

    __slots__ = ("_kept", "_seen")

    def __init__(self) -> None:
        # INVARIANT: a value is kept beside its bytes, so that no other one gets its identity.
        self._kept: dict[_Key, tuple[Value, bytes]] = {}
        # Written once. That says nothing of the value: an identity may have become another's.
        self._seen: set[_Key] = set()

    def write(self, attributes: Mapping[str, Value], entry: audit_pb2.DecisionRecord) -> None:
        """Put attributes into an entry that has none.

        Raises:
            InvalidRequestError: one has no encoding.
        """
        # Messages that follow each other are one message that has the fields of both.
        if encoded := self.encode(attributes):
            entry.MergeFromString(encoded)

    def encode(self, attributes: Mapping[str, Value]) -> bytes:
        """The fields of an entry that has these attributes and nothing else. Raises as `write`."""
        kept, parts = self._kept, []
        for name, value in attributes.items():
            kind = type(value)
            by_value = kind in _BY_VALUE or (kind is str and len(value) <= _TEXT_MAX)  # type: ignore[arg-type]
            key: _Key = (name, kind, value if by_value else id(value))
            found = kept.get(key)
            parts.append(self._anew(key, value) if found is None else found[1])
        return b"".join(parts)

    def _anew(self, key: _Key, value: Value) -> bytes:
        """Encode it, and keep what comes for the second time."""
        alone = audit_pb2.DecisionRecord()
        map_to_pb({key[0]: value}, alone.attributes, "attributes")
        encoded = alone.SerializeToString()
        if key not in self._seen:
            if len(self._seen) >= _KEPT_MAX:
                self._seen.clear()
                self._kept.clear()
            self._seen.add(key)
        elif len(encoded) <= _BYTES_MAX:
            self._kept[key] = value, encoded
        return encoded
