"""Caller policy: one entry covers a request as a whole, or nothing does."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp import callers as callers_module
from pdp.callers import CallerEntry, CallerPolicy, check_caller_id
from pdp.errors import IdentityError, PolicyError
from pdp.identity.spiffe_id import parse_spiffe_id
from pdp.model import Action, Request, Resource, Subject

A = "spiffe://demo.example.org/a"


def entry(
    identity: str = A,
    resources: tuple[str, ...] = ("report",),
    actions: tuple[str, ...] = ("read",),
    asserts: tuple[str, ...] | None = ("user",),
    tenants: tuple[str, ...] = ("default",),
) -> CallerEntry:
    """An entry, all but what a test is about."""
    return CallerEntry(identity, resources, actions, asserts, tenants)


def request(resource: str = "report", action: str = "read") -> Request:
    """A question."""
    return Request(Subject("user", "ana"), Action(action), Resource(resource, "1"))


@pytest.mark.parametrize(
    ("pattern", "spiffe_id", "about"),
    [
        (A, A, True),
        (A, A + "/b", False),
        (A, A + "b", False),
        (A, "spiffe://demo.example.org/A", False),
        (A + "/*", A + "/b", True),
        (A + "/*", A + "/b/c", True),
        (A + "/*", A, False),
        (A + "/*", A + "/", False),
        (A + "/*", A + "b", False),
        ("spiffe://demo.example.org/*", A, True),
        ("spiffe://demo.example.org/*", "spiffe://demo.example.org", False),
        ("spiffe://demo.example.org/*", "spiffe://demo.example.org.evil/a", False),
        ("spiffe://demo.example.org/*", "spiffe://other.example.org/a", False),
        # A star is no letter of a certificate's identity, but were it one, it would be a letter.
        (A + "/*", A + "/*", True),
        (A, "", False),
    ],
)
def test_an_entry_is_about_one_workload_or_all_below_a_path(
    pattern: str, spiffe_id: str, about: bool
) -> None:
    """`/*` matches one or more further segments, never the path itself, never another name."""
    assert entry(pattern).matches(spiffe_id) is about


def test_entries_are_not_merged() -> None:
    """One may read reports, the other may write invoices: neither lets anybody write reports."""
    policy = CallerPolicy((entry(), entry(resources=("invoice",), actions=("write",))))
    assert policy.covering(A, "default", request("report", "read"))
    assert policy.covering(A, "default", request("invoice", "write"))
    assert not policy.covering(A, "default", request("report", "write"))
    assert not policy.covering(A, "default", request("invoice", "read"))


def test_entries_are_not_merged_twin_without_guard() -> None:
    """Were the entries merged into one, the caller could write reports."""
    merged = entry(resources=("report", "invoice"), actions=("read", "write"))
    assert CallerPolicy((merged,)).covering(A, "default", request("report", "write"))


def test_every_part_of_a_request_must_be_covered() -> None:
    """Workload, tenant, resource type, action: one that is not named is not covered."""
    policy = CallerPolicy((entry(),))
    assert policy.covering(A, "default", request())
    assert not policy.covering(A + "/b", "default", request())
    assert not policy.covering(A, "other", request())
    assert not policy.covering(A, "default", request("invoice"))
    assert not policy.covering(A, "default", request(action="write"))


def test_a_star_covers_anything_and_only_alone() -> None:
    """`*` is any; it is refused beside a name, so nobody wonders what that means."""
    policy = CallerPolicy((entry(resources=("*",), actions=("*",), tenants=("*",)),))
    assert policy.covering(A, "any", request("any", "thing"))
    with pytest.raises(PolicyError, match="mixes"):
        entry(actions=("*", "read"))


def test_who_must_bring_a_token_asserts_nobody() -> None:
    """An entry with `token: required` covers, and admits a subject that a token proves."""
    policy = CallerPolicy((entry(asserts=None),))
    covering = policy.covering(A, "default", request())
    assert len(covering) == 1
    assert policy.admitting(covering, "user", proved=False) is None
    assert policy.admitting(covering, "user", proved=True) is policy.entries[0]


def test_a_subject_type_that_is_not_listed_is_not_asserted() -> None:
    """And the first covering entry that lists it is the one."""
    policy = CallerPolicy((entry(asserts=("robot",)), entry(asserts=("user", "robot"))))
    covering = policy.covering(A, "default", request())
    assert policy.admitting(covering, "user", proved=False) is policy.entries[1]
    assert policy.admitting(covering, "robot", proved=False) is policy.entries[0]
    assert policy.admitting(covering, "service", proved=False) is None
    # Proof of who it is does not make a caller for users one for services.
    assert policy.admitting(covering, "service", proved=True) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"resources": ()},
        {"actions": ()},
        {"tenants": ()},
        {"asserts": ()},
        {"actions": ("read", "")},
        {"resources": ("*", "report")},
        {"asserts": ("user", "*")},
        {"identity": "demo.example.org/a"},
        {"identity": "spiffe://demo.example.org"},
    ],
)
def test_a_half_valid_entry_cannot_be_made(broken: dict[str, tuple[str, ...]]) -> None:
    """Neither by an author nor from a bundle: absent and empty are never read as "any"."""
    with pytest.raises(PolicyError):
        entry(**broken)  # type: ignore[arg-type]


def test_a_right_that_nobody_knows_cannot_be_given() -> None:
    """`may` is a closed set."""
    with pytest.raises(PolicyError, match="unknown"):
        CallerEntry(A, ("report",), ("read",), ("user",), may=frozenset({"everything"}))


def test_an_empty_caller_policy_cannot_be_made() -> None:
    """It would be a PDP that nobody may ask: a wrong file rather than a wish."""
    with pytest.raises(PolicyError, match="empty"):
        CallerPolicy(())


IDS = [
    ("spiffe://demo.example.org/a", True),
    ("spiffe://d/a.b_c-D/9", True),
    ("spiffe://" + "d" * 255 + "/a", True),
    ("spiffe://" + "d" * 256 + "/a", False),
    ("spiffe://d/" + "a" * 2_037, True),
    ("spiffe://d/" + "a" * 2_038, False),
    ("spiffe://d", False),
    ("spiffe://d/", False),
    ("spiffe://d//a", False),
    ("spiffe://d/a/", False),
    ("spiffe://d/./a", False),
    ("spiffe://d/../a", False),
    ("spiffe://D/a", False),
    ("spiffe:///a", False),
    ("spiffe://d:80/a", False),
    ("spiffe://u@d/a", False),
    ("spiffe://d/a?q", False),
    ("spiffe://d/a#f", False),
    ("spiffe://d/%61", False),
    ("spiffe://d/é", False),
    ("spiffe://d/a\n", False),
    ("spiffe://d/a b", False),
    ("SPIFFE://d/a", False),
    ("https://d/a", False),
    ("", False),
]


def accepted(text: str) -> bool:
    """Whether it may be a caller's id."""
    try:
        return check_caller_id(text) == text
    except PolicyError:
        return False


def is_spiffe_id(text: str) -> bool:
    """Whether a certificate may carry it, by the other ring's own reading of the rules."""
    try:
        return str(parse_spiffe_id(text)) == text
    except IdentityError:
        return False


@pytest.mark.parametrize(("text", "valid"), IDS)
def test_a_caller_is_named_by_a_valid_spiffe_id(text: str, valid: bool) -> None:
    """SPIFFE-ID, sections 2.1 to 2.3; what no certificate can carry would never match."""
    assert accepted(text) is valid
    assert is_spiffe_id(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("spiffe://d/*", True),
        ("spiffe://d/a/*", True),
        ("spiffe://*/a", False),
        ("spiffe://d/*/a", False),
        ("spiffe://d/a*", False),
        ("spiffe://d/**", False),
        ("spiffe://d/*/*", False),
        ("spiffe://d*", False),
        ("*", False),
    ],
)
def test_a_star_is_the_last_segment_only(text: str, valid: bool) -> None:
    """Never inside, never half of a segment, never a trust domain."""
    assert accepted(text) is valid


@given(
    st.text(st.sampled_from("ab.A_-/*:%@é\n"), max_size=12).map(lambda text: f"spiffe://{text}")
    | st.text(max_size=30)
)
@settings(max_examples=300, deadline=None)
def test_both_rings_read_spiffe_ids_alike(text: str) -> None:
    """The policy's grammar and the certificate check's agree on every text without a star."""
    if "*" not in text:
        assert accepted(text) is is_spiffe_id(text)


def test_spiffe_id_grammar_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pattern that lets a line break in, an id is taken that no certificate can carry."""
    loose = re.compile(r"[A-Za-z0-9._-]+\s*")
    monkeypatch.setattr(callers_module, "_SEGMENT", loose)
    assert accepted("spiffe://d/a\n")
