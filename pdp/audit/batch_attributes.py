"""What candidate rules read of the questions of a batch, each part of them written once.

Four actions on one resource read much the same of it. So what a path leads to is looked up and
encoded once for each subject, action and resource that questions share, as `pdp.interning` makes
them. It is a function of the part and the path, and ends with the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pdp.audit.encoded import EncodedAttributes
from pdp.audit.entry import Path, attributes_at, paths_read
from pdp.boundary import Admitted
from pdp.parts import Part
from pdp.policy import Rule
from pdp.values import Value

# What is left is the moment, the caller, and a token that is not there: the same for all of them.
_PLACES: Final = {"subject": 0, "action": 1, "resource": 2, "context": 3}
_Named = tuple[Path, str]
_Lists = tuple[list[_Named], ...]


class BatchAttributes:
    """Of one batch.

    Args:
        encoded: attributes that were written before.
    """

    def __init__(self, encoded: EncodedAttributes) -> None:
        self._encoded = encoded
        # INVARIANT: what has an identity in the key is in the value, and so held with it.
        self._read: dict[int, tuple[Sequence[Rule], _Lists, list[_Named], list[_Named]]] = {}
        self._others: dict[tuple[int, int, int], tuple[Value, bytes]] = {}
        self._written: dict[int, tuple[Part, dict[str, bytes]]] = {}

    def encode(self, rules: Sequence[Rule], admitted: Admitted, now_ns: int) -> bytes | None:
        """The fields of an entry with the attributes that any of the rules reads.

        Returns:
            As `attributes_read` and `EncodedAttributes.encode`, where two paths may say the same
            thing twice; None: somebody has said more of it than the caller.

        Raises:
            InvalidRequestError: one has no encoding.
        """
        parts = admitted.parts
        if parts is None or admitted.token is not None or admitted.completion is not None:
            return None
        read = self._read.get(id(rules))
        if read is None:
            read = self._read[id(rules)] = rules, *_by_part(paths_read(rules))
        ours, of_context, others = read[1:]
        found: list[bytes] = []
        for part, paths in zip(parts, ours, strict=True):
            if not paths:
                continue
            kept = self._written.get(id(part))
            if kept is None:
                kept = self._written[id(part)] = part, {}
            written = kept[1]
            for named in paths:
                field = written.get(named[1])
                if field is None:
                    field = written[named[1]] = self._fields([named], admitted, now_ns)
                found.append(field)
        if of_context:
            found.append(self._fields(of_context, admitted, now_ns))
        if others:
            caller = admitted.attributes["caller"]
            key = (id(rules), id(caller), now_ns)
            rest = self._others.get(key)
            if rest is None:
                rest = self._others[key] = caller, self._fields(others, admitted, now_ns)
            found.append(rest[1])
        return b"".join(found)

    def _fields(self, paths: Sequence[_Named], admitted: Admitted, now_ns: int) -> bytes:
        return self._encoded.encode(attributes_at(paths, admitted.attributes, now_ns))


def _by_part(paths: Sequence[_Named]) -> tuple[_Lists, list[_Named], list[_Named]]:
    """Paths into subject, action and resource; into the context; and all others."""
    found: _Lists = ([], [], [], [], [])
    for named in paths:
        found[_PLACES.get(named[0][0].partition(".")[0], -1)].append(named)
    return found[:3], found[3], found[4]
