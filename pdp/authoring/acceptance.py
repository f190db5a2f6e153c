"""`accept:` of a rule: findings that its author knows of, each with the reason.

    accept: {PC302: price lists are public (SHOP-4)}

It changes what `pdp check` fails on, and nothing else; an error cannot be
accepted.
"""

from __future__ import annotations

from collections.abc import Mapping

from pdp.authoring.fields import PROSE, Fields
from pdp.authoring.findings import ACCEPTABLE, KINDS
from pdp.authoring.nodes import Map, Scalar
from pdp.authoring.problems import closest, word

KEY = "accept"
_HINT = f"write `{KEY}: {{PC302: the reason}}`, or leave it out"


def check_accept(fields: Fields) -> None:
    """Note what is wrong with a rule's `accept`."""
    node = fields.node(KEY)
    if node is None:
        return
    if not isinstance(node, Map) or not node.entries:
        fields.problems.add(node.position, f"`{KEY}` must be a map of findings and reasons", _HINT)
        return
    for key, value in node.entries:
        if key.text in ACCEPTABLE:
            fields.checked(value, f"the reason for {word(key.text)}", PROSE)
        elif key.text in KINDS:
            message = f"finding {word(key.text)} cannot be accepted"
            fields.problems.add(key.position, message, "put right what it is about")
        else:
            hint = closest(key.text, ACCEPTABLE) or "`pdp check` says the id of each finding"
            fields.problems.add(key.position, f"finding {word(key.text)} is unknown", hint)


def accepted_in(rule: Map) -> Mapping[str, Scalar]:
    """Finding id to reason, of a rule that has been checked."""
    node = rule.get(KEY)
    entries = node.entries if isinstance(node, Map) else ()
    return {key.text: value for key, value in entries if isinstance(value, Scalar)}
