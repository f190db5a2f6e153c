"""The caller policy as its author wrote it: the `kind: callers` document, design section 5."""

from __future__ import annotations

from pdp.authoring.fields import Fields, Text
from pdp.authoring.nodes import Map, Node, Scalar
from pdp.authoring.problems import Problems, one_of, word
from pdp.callers import MAY, CallerEntry, check_caller_id
from pdp.errors import PolicyError

_NAMES = 'list exact names, or the sole `"*"` for any'
_SUBJECTS = "write `subjects: {assert: [user]}` or `subjects: {token: required}`"
_ID = Text("a SPIFFE ID", 2_048)


def read_callers(root: Map, problems: Problems) -> tuple[CallerEntry, ...]:
    """Read the caller policy. After a problem, what is returned is incomplete."""
    hint = "list at least one caller: a PDP that nobody may ask answers nobody"
    fields = Fields(
        root,
        "the caller policy",
        problems,
        required={"kind": "write `kind: callers`", "callers": hint},
    )
    found = []
    for node in fields.items("callers", hint) or ():
        before = len(problems)
        entry = _entry(node, problems)
        if entry is not None and len(problems) == before:
            found.append(entry)
    return tuple(found)


def _entry(node: Node, problems: Problems) -> CallerEntry | None:
    given = node.get("id") if isinstance(node, Map) else None
    what = f"caller {word(given.text)}" if isinstance(given, Scalar) else "the caller"
    fields = Fields(
        node,
        what,
        problems,
        required={
            "id": "write its SPIFFE ID, `spiffe://domain/path`",
            "resources": _NAMES,
            "actions": _NAMES,
            "subjects": _SUBJECTS,
        },
        optional=("tenants", "may"),
    )
    identity = _id(fields)
    tenants = fields.names_or_any("tenants", "leave it out to mean `[default]`")
    resources = fields.names_or_any("resources", _NAMES)
    actions = fields.names_or_any("actions", _NAMES)
    asserts = _subjects(fields)
    may = _may(fields)
    # An incomplete entry has its problem noted already.
    if identity is None or resources is None or actions is None:
        return None
    if tenants is None:
        return CallerEntry(identity, resources, actions, asserts, may=may)
    return CallerEntry(identity, resources, actions, asserts, tenants, may)


def _id(fields: Fields) -> str | None:
    text = fields.text("id", _ID)
    if text is None:
        return None
    try:
        return check_caller_id(text)
    except PolicyError as error:
        fields.problems.add(fields.at("id"), error.message, error.suggestion)
        return None


def _subjects(fields: Fields) -> tuple[str, ...] | None:
    """The subject types it may assert, or None: a token is required."""
    node = fields.node("subjects")
    if node is None:
        return None
    inner = Fields(node, "`subjects`", fields.problems, required={}, optional=("assert", "token"))
    if not inner.is_map:
        return None
    if (inner.node("assert") is None) is (inner.node("token") is None):
        message = "`subjects` needs exactly one of `assert` and `token`"
        fields.problems.add(node.position, message, _SUBJECTS)
        return None
    inner.choice("token", ["required"])
    return inner.names_or_any("assert", "list the subject types it may assert")


def _may(fields: Fields) -> frozenset[str]:
    if fields.node("may") is None:
        return frozenset()
    words = Text(one_of(sorted(MAY)), 64)
    items = fields.texts("may", words, "leave it out to mean none of them") or ()
    for item in items:
        if item.text not in MAY:
            hint = f"it may be {one_of(sorted(MAY))}"
            fields.problems.add(item.position, f"{word(item.text)} is not known in `may`", hint)
    return frozenset(item.text for item in items) & MAY
