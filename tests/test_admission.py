"""From an admitted request to a decision: each step, in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pdp import admission
from pdp.admission import Denials, decide, resolve_tenant
from pdp.boundary import InputLimits, admit
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.errors import InvalidRequestError
from pdp.model import Action, Caller, Cause, Decision, Effect, Reason, Request, Resource, Subject
from pdp.policy import PolicyDocument, PolicySet, RuleDocument

ID = "spiffe://demo.example.org/a"
CALLER = Caller(ID, serial="0a")
PERMIT = RuleDocument("a", Effect.PERMIT, ("read",), None, None, None, None, "x", ())


def policy_set(name: str = "p") -> PolicySet:
    """One that permits reading reports."""
    document = PolicyDocument(name, "report", "", (), (), (), (PERMIT,))
    return PolicySet([document], EvaluationLimits())


POLICIES = {"default": policy_set()}
ASSERTING = CallerEntry(ID, ("report",), ("read", "write"), ("user",))


def ask(
    *,
    entries: tuple[CallerEntry, ...] = (ASSERTING,),
    denials: Denials | None = None,
    policies: Mapping[str, PolicySet] | None = None,
    caller: Caller = CALLER,
    subject: Subject | None = None,
    action: str = "read",
    tenant: str = "",
    token: str = "",
) -> Decision:
    """The decision; without arguments, a PERMIT."""
    request = Request(
        subject or Subject("user", "ana"),
        Action(action),
        Resource("report", "1"),
        tenant=tenant,
        subject_token=token,
    )
    admitted = admit(request, caller, InputLimits())
    decision, rules = decide(
        policies or POLICIES, CallerPolicy(entries), denials or Denials(), admitted, caller, 0
    )
    assert bool(rules) is (decision.cause is Cause.RULE)
    return decision


def test_a_covered_question_reaches_the_rules() -> None:
    """The permit that every denial below is compared with."""
    assert ask() == Decision(Effect.PERMIT, Cause.RULE, ("p/a",))
    assert ask(action="write") == Decision(Effect.DENY, Cause.DEFAULT)


def test_a_caller_that_no_entry_is_about_is_denied() -> None:
    """Whatever it asks, also about a tenant: it does not learn which there are."""
    stranger = Caller(ID + "/b")
    assert ask(caller=stranger).cause is Cause.CALLER
    assert ask(caller=stranger, tenant="nothing").cause is Cause.CALLER


def test_a_question_that_no_entry_covers_is_denied() -> None:
    """Another action, another resource type."""
    assert ask(action="delete").cause is Cause.CALLER
    other = CallerEntry(ID, ("invoice",), ("read",), ("user",))
    assert ask(entries=(other,)).cause is Cause.CALLER


def test_a_question_that_no_entry_covers_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the caller policy, a stranger to the resource type gets the rules' permit."""
    other = CallerEntry(ID, ("invoice",), ("read",), ("user",))
    monkeypatch.setattr(CallerPolicy, "covering", lambda self, *_, **__: self.entries)
    assert ask(entries=(other,)).effect is Effect.PERMIT


def test_a_subject_type_that_the_caller_may_not_assert_is_denied() -> None:
    """A caller for users does not speak for services."""
    assert ask(subject=Subject("service", "job")).cause is Cause.CALLER


def test_a_token_is_required_where_no_entry_lets_the_caller_assert() -> None:
    """DENY(IDENTITY): somebody else could ask this, with proof."""
    required = CallerEntry(ID, ("report",), ("read",), None)
    assert ask(entries=(required,)).cause is Cause.IDENTITY
    services = CallerEntry(ID, ("report",), ("read",), ("service",))
    assert ask(entries=(services, required)).cause is Cause.IDENTITY
    assert ask(entries=(required, ASSERTING)).effect is Effect.PERMIT


def test_a_token_that_nobody_checks_is_not_ignored() -> None:
    """Until tokens are verified, a request that leans on one is denied, not answered without."""
    assert ask(token="e30.e30.x").cause is Cause.IDENTITY


def test_a_token_that_nobody_checks_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the token dropped before the check, the answer would be a permit."""
    real = CallerPolicy.covering

    def dropping(
        self: CallerPolicy, caller: str, tenant: str, request: Request, *, doing: str
    ) -> object:
        object.__setattr__(request, "subject_token", "")
        return real(self, caller, tenant, request, doing=doing)

    monkeypatch.setattr(CallerPolicy, "covering", dropping)
    assert ask(token="e30.e30.x").effect is Effect.PERMIT


@pytest.mark.parametrize(
    ("denials", "cause"),
    [
        (Denials(callers=frozenset({ID})), Cause.CALLER),
        (Denials(serials=frozenset({("demo.example.org", "0a")})), Cause.CALLER),
        (Denials(subjects=frozenset({("user", "ana")})), Cause.IDENTITY),
    ],
)
def test_the_emergency_list_denies(denials: Denials, cause: Cause) -> None:
    """A workload, one certificate of it, a subject: at once, whatever the rules say."""
    assert ask(denials=denials) == Decision(Effect.DENY, cause)


@pytest.mark.parametrize(
    "denials",
    [
        Denials(callers=frozenset({ID + "/b"})),
        Denials(serials=frozenset({("other.example.org", "0a"), ("demo.example.org", "0b")})),
        Denials(subjects=frozenset({("service", "ana"), ("user", "Ana")})),
    ],
)
def test_the_emergency_list_is_exact(denials: Denials) -> None:
    """Others are not touched: a serial counts within its trust domain."""
    assert ask(denials=denials).effect is Effect.PERMIT


def test_the_emergency_list_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check, the denied workload and the denied subject get their permit."""
    monkeypatch.setattr(Denials, "denies_caller", lambda *_: False)
    monkeypatch.setattr(Denials, "denies_subject", lambda *_: False)
    denials = Denials(callers=frozenset({ID}), subjects=frozenset({("user", "ana")}))
    assert ask(denials=denials).effect is Effect.PERMIT


def test_a_denied_caller_is_denied_before_its_tenant_is_looked_at() -> None:
    """No INVALID_ARGUMENT tells it that the tenant was the mistake."""
    denials = Denials(callers=frozenset({ID}))
    assert ask(denials=denials, tenant="nothing").cause is Cause.CALLER


# -- tenants --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "loaded", "named", "resolved"),
    [
        ({"default"}, {"default"}, "", "default"),
        ({"default"}, {"default"}, "default", "default"),
        ({"a", "b"}, {"a", "b"}, "b", "b"),
        ({"a"}, {"a", "b"}, "", "a"),
        ({"*"}, {"a"}, "", "a"),
        ({"*"}, {"a", "b"}, "b", "b"),
        # Several, and none named.
        ({"a", "b"}, {"a", "b"}, "", None),
        ({"a", "b"}, {"a"}, "", None),
        ({"*"}, {"a", "b"}, "", None),
        # Not the caller's, not loaded, or neither.
        ({"a"}, {"a", "b"}, "b", None),
        ({"a", "c"}, {"a"}, "c", None),
        ({"a"}, {"b"}, "", None),
        ({"*"}, {"a"}, "c", None),
        ({"*"}, {"a"}, "*", None),
    ],
)
def test_a_tenant_is_the_callers_and_loaded_or_the_request_is_invalid(
    allowed: set[str], loaded: set[str], named: str, resolved: str | None
) -> None:
    """Empty means the caller's only one; nothing is guessed."""
    policies = {name: policy_set(name) for name in loaded}
    if resolved is not None:
        assert resolve_tenant(policies, frozenset(allowed), named) == resolved
        return
    with pytest.raises(InvalidRequestError) as caught:
        resolve_tenant(policies, frozenset(allowed), named)
    assert caught.value.field == "tenant"


def test_a_foreign_tenant_and_one_that_is_not_there_look_the_same() -> None:
    """Who may not name a tenant does not learn whether it exists."""
    policies = {name: policy_set(name) for name in ("a", "b")}
    told = set()
    for named in ("b", "nothing"):
        with pytest.raises(InvalidRequestError) as caught:
            resolve_tenant(policies, frozenset({"a"}), named)
        told.add(str(caught.value))
    assert len(told) == 1


def test_each_tenant_has_its_own_rules() -> None:
    """A permit of one tenant is none in the other; entries of one do not cover the other."""
    policies = {"a": policy_set("of-a"), "b": policy_set("of-b")}
    entries = (
        CallerEntry(ID, ("report",), ("read",), ("user",), tenants=("a",)),
        CallerEntry(ID, ("report",), ("write",), ("user",), tenants=("b",)),
    )
    assert ask(entries=entries, policies=policies, tenant="a").rules == ("of-a/a",)
    assert ask(entries=entries, policies=policies, tenant="b").cause is Cause.CALLER


def test_each_tenant_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the named tenant ignored, another tenant's permit would be the answer."""
    policies = {"a": policy_set("of-a"), "b": policy_set("of-b")}
    entry = CallerEntry(ID, ("report",), ("read",), ("user",), tenants=("a",))
    with pytest.raises(InvalidRequestError):
        ask(entries=(entry,), policies=policies, tenant="b")
    monkeypatch.setattr(admission, "resolve_tenant", lambda *_: "a")
    assert ask(entries=(entry,), policies=policies, tenant="b").effect is Effect.PERMIT


# -- what a caller is told ------------------------------------------------------

SPOKEN = replace(PERMIT, reason_user="you may", reason_admin="see R-7")
SPEAKING = {
    "default": PolicySet(
        [PolicyDocument("p", "report", "", (), (), (), (SPOKEN,))], EvaluationLimits()
    )
}
EXPLAINING = replace(ASSERTING, may=frozenset({"explain"}))


def test_reasons_for_administrators_are_for_callers_that_may_explain() -> None:
    """One entry must cover the whole question and say `explain`: entries are not merged."""
    admin, user = (Reason("p/a", "see R-7"),), (Reason("p/a", "you may"),)
    elsewhere = replace(EXPLAINING, resources=("invoice",))
    for_services = replace(EXPLAINING, asserts=("service",))
    with_token = replace(EXPLAINING, asserts=None)
    for entries, told in (
        ((ASSERTING,), ()),
        ((EXPLAINING,), admin),
        ((ASSERTING, EXPLAINING), admin),
        ((ASSERTING, elsewhere), ()),
        ((ASSERTING, for_services), ()),
        ((ASSERTING, with_token), ()),
        ((replace(ASSERTING, may=frozenset({"batch", "search"})),), ()),
    ):
        found = ask(policies=SPEAKING, entries=entries)
        assert (found.effect, found.reason_user) == (Effect.PERMIT, user)
        assert found.reason_admin == told


def test_reasons_for_administrators_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at `may`, every caller reads what was written for administrators."""
    assert not ask(policies=SPEAKING).reason_admin
    monkeypatch.setattr(CallerPolicy, "may", lambda *_, **__: True)
    assert ask(policies=SPEAKING).reason_admin
