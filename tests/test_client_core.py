"""The client's failure policy, by itself: bytes, statuses and times in, a decision out.

The oracle (`may_permit`) is a list of conditions over the parsed message,
written apart from the steps it judges.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import math
import pickle
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import grpc
import pytest
import tenacity
from google.protobuf.message import DecodeError
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pdp import wire
from pdp.model import Action, Cause, Decision, Effect, Resource, Subject
from pdp.v1 import authorization_pb2 as pb
from pdp_client import AccessDenied, _arguments, _attempts, _core
from pdp_client._core import Call, Outcome, Refusal, Status
from pdp_client._throttle import RetryThrottle
from tests.conftest import ROOT
from tests.simulators.faults import SPOILED, honest_permit

ALICE = Subject("user", "alice")
REPORT = Resource("report", "7")
CAN_MEET = frozenset({("custom", "watermark")})


def question(context: Any = None, **changes: Any) -> Any:
    """A question as the drivers build it."""
    arguments = {
        "subject": ALICE,
        "action": "read",
        "resource": REPORT,
        "context": context,
        "tenant": "",
        "request_id": "0" * 32,
    }
    return _arguments.question(**{**arguments, **changes})


def asked() -> Call:
    """A call that began at 0 and has a budget of 1 s."""
    return _core.begin(question(), 0.0, 1.0)


def honest(call: Call) -> pb.AuthorizeResponse:
    """The PDP's permit for this call."""
    return honest_permit(pb.AuthorizeRequest.FromString(call.message), call.message)


def ended(message: bytes | None, status: int = Status.OK, at: float = 0.5) -> Outcome:
    """An outcome in time."""
    return Outcome(status, message, "", at)


def concluded(call: Call, outcome: Outcome, can_meet: frozenset[tuple[str, str]] = CAN_MEET) -> Any:
    """What a driver makes of an outcome."""
    try:
        return _core.Conclusion(_core.conclude(call, outcome, can_meet))
    except Exception as error:  # noqa: BLE001 as the drivers do
        return _core.denial(error, asked=True)


def has_meaning(value: pb.Value) -> bool:
    """Whether a value of an obligation is of a kind that we know, all the way down."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return all(has_meaning(item) for item in value.list_value.values)
    if kind == "map_value":
        return all(has_meaning(item) for item in value.map_value.entries.values())
    return kind is not None


def may_permit(call: Call, outcome: Outcome, can_meet: frozenset[tuple[str, str]]) -> bool:
    """The oracle: whether anything but DENY is allowed here."""
    if outcome.message is None or len(outcome.message) > 262_144:
        return False
    try:
        answer = pb.AuthorizeResponse.FromString(outcome.message)
    except (DecodeError, UnicodeDecodeError):
        return False
    return all(
        [
            outcome.status == 0,
            outcome.at - call.deadline <= 0,
            answer.request_id == pb.AuthorizeRequest.FromString(call.message).request_id,
            answer.request_digest == hashlib.sha256(call.message).digest(),
            answer.effect == 2,
            answer.cause == 1,
            answer.decision_id != "",
            len(answer.rules) > 0,
            answer.HasField("bundle") and len(answer.bundle.digest) == 32,
            answer.HasField("record") and len(answer.record.hash) == 32,
            answer.record.pdp_id != "" and answer.record.seq > 0,
            {(duty.type, duty.id) for duty in answer.obligations} <= can_meet,
            all(item.type and item.id for item in answer.advice),
            all(
                has_meaning(value)
                for item in (*answer.obligations, *answer.advice)
                for value in item.properties.values()
            ),
            all(item.rule and item.text for item in (*answer.reason_user, *answer.reason_admin)),
        ]
    )


@st.composite
def messages(draw: st.DrawFn, call: Call) -> bytes | None:
    """Answers: honest, spoilt in any number of ways, cut, flipped, or noise."""
    answer = honest(call)
    harm = draw(st.sampled_from(["none"] * 3 + ["noise", "spoilt", "spoilt", "flipped", "cut"]))
    if harm == "noise":
        return draw(st.none() | st.binary(max_size=200))
    if harm == "spoilt":
        for fault in draw(st.lists(st.sampled_from(sorted(SPOILED)), min_size=1, max_size=2)):
            SPOILED[fault](answer)
    if draw(st.booleans()):
        answer.obligations.add(type="custom", id="watermark")
    message = bytearray(answer.SerializeToString())
    if harm == "flipped":
        message[draw(st.integers(0, len(message) - 1))] ^= draw(st.integers(1, 255))
    if harm == "cut":
        message = message[: draw(st.integers(0, len(message)))]
    return bytes(message)


times = st.sampled_from(
    [0.0, 0.5, 0.999, 1.0, math.nextafter(1.0, 2), 1.003, math.inf, math.nan, -1.0]
)
statuses = st.sampled_from([0] * 20 + [*range(1, 17), -1, 17, 99])


@settings(max_examples=300)
@given(st.data(), statuses, times, st.booleans())
def test_client_denies(data: st.DataObject, status: int, at: float, able: bool) -> None:
    """Whatever bytes come back, with whatever status, whenever: a permit only if all holds."""
    call = asked()
    can_meet = CAN_MEET if able else frozenset()
    outcome = ended(data.draw(messages(call)), status, at)
    conclusion = concluded(call, outcome, can_meet)
    allowed = may_permit(call, outcome, can_meet)
    assert bool(conclusion.decision) == allowed
    assert conclusion.unexpected is None
    event(f"permit: {allowed}")
    if not allowed and not conclusion.reason:
        # The only denial that is not the client's own: one that the PDP made.
        assert pb.AuthorizeResponse.FromString(outcome.message or b"").effect == pb.EFFECT_DENY


@given(st.binary(max_size=500))
def test_any_bytes_are_a_denial(message: bytes) -> None:
    """Bytes that nobody made for this call are denied, and nothing but a denial comes of them."""
    conclusion = concluded(asked(), ended(message))
    assert conclusion.decision.effect is Effect.DENY
    assert conclusion.decision.cause is Cause.UNUSABLE
    assert conclusion.unexpected is None


def test_honest_permit_is_a_permit() -> None:
    """The control: nothing is wrong, so it is a permit with all that the PDP said."""
    call = asked()
    decision = concluded(call, ended(honest(call).SerializeToString())).decision
    assert decision.effect is Effect.PERMIT
    assert decision.rules == ("simulated/permits",)
    assert decision.record.seq == 1
    assert decision.bundle.revision == 1


@pytest.mark.parametrize("fault", sorted(SPOILED))
def test_spoilt_permit_is_unusable(fault: str) -> None:
    """Each way to spoil a permit makes it a denial, and the reason says why."""
    call = asked()
    answer = honest(call)
    SPOILED[fault](answer)
    conclusion = concluded(call, ended(answer.SerializeToString()))
    assert conclusion.decision == Decision(Effect.DENY, Cause.UNUSABLE)
    assert conclusion.reason


def _no_check(*_: object) -> None:
    """In place of a guard."""


@pytest.mark.parametrize(
    ("guard", "fault"),
    [
        ("_check_request_id", "wrong_request_id"),
        ("_check_request_digest", "wrong_digest"),
        ("check_obligations", "obligation_unknown"),
    ],
)
def test_spoilt_permit_twin_without_guard(
    guard: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without each guard of the client, the spoilt permit would get through."""
    call = asked()
    answer = honest(call)
    SPOILED[fault](answer)
    outcome = ended(answer.SerializeToString())
    assert not concluded(call, outcome).decision
    monkeypatch.setattr(_core, guard, _no_check)
    assert concluded(call, outcome).decision


@pytest.mark.parametrize("fault", ["no_record", "no_bundle", "no_rules", "permit_by_default"])
def test_permit_without_a_record_twin_without_guard(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wire's check of permits, one without a record would get through."""
    call = asked()
    answer = honest(call)
    SPOILED[fault](answer)
    outcome = ended(answer.SerializeToString())
    assert not concluded(call, outcome).decision
    monkeypatch.setattr(wire, "_check_permit", _no_check)
    assert concluded(call, outcome).decision


@pytest.mark.parametrize(
    ("guard", "status", "at"),
    [("_check_in_time", 0, 1.001), ("_check_in_time", 0, math.nan), ("_check_status", 14, 0.5)],
)
def test_late_or_failed_permit_twin_without_guard(
    guard: str, status: int, at: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An honest permit that is late, or comes with an error: denied by that one guard."""
    call = asked()
    outcome = ended(honest(call).SerializeToString(), status, at)
    assert concluded(call, outcome).decision.cause is Cause.UNREACHABLE
    monkeypatch.setattr(_core, guard, _no_check)
    assert concluded(call, outcome).decision


def test_answer_at_the_deadline_is_in_time() -> None:
    """The budget is inclusive: the last moment counts, the next one does not."""
    call = asked()
    message = honest(call).SerializeToString()
    assert concluded(call, ended(message, at=1.0)).decision
    assert not concluded(call, ended(message, at=math.nextafter(1.0, 2))).decision


def test_statuses_are_grpcs() -> None:
    """Our numbers of the statuses are gRPC's, all of them."""
    assert {s.name: s.value for s in Status} == {s.name: s.value[0] for s in grpc.StatusCode}


@pytest.mark.parametrize("status", [*range(1, 17), 17, 99, -1])
def test_every_status_but_ok_is_a_denial(status: int) -> None:
    """A status, known or not, is a denial for the cause in the table, permit or no permit."""
    call = asked()
    conclusion = concluded(call, ended(honest(call).SerializeToString(), status))
    assert conclusion.decision.effect is Effect.DENY
    named = {3: Cause.INVALID, 7: Cause.CALLER, 12: Cause.UNUSABLE, 16: Cause.CALLER}
    assert conclusion.decision.cause is named.get(status, Cause.UNREACHABLE)


# -- attempts ---------------------------------------------------------------------------


def tried(
    ends: list[tuple[int, float]],
    deadline: float = 1.0,
    *,
    pushback: tuple[str, ...] = (),
    throttle: RetryThrottle | None = None,
) -> tuple[Outcome, list[float]]:
    """Let tenacity make attempts that end like this; the last outcome, and the pauses."""
    pauses: list[float] = []
    endings = iter(ends)
    shared = throttle or RetryThrottle()

    def attempt() -> Outcome:
        status, at = next(endings)
        return Outcome(status, None, "", at, pushback)

    rules = _attempts.attempts(deadline, lambda outcome: _attempts.worth_another(outcome, shared))
    return tenacity.Retrying(sleep=pauses.append, **rules)(attempt), pauses


@pytest.mark.parametrize("status", [s for s in range(17) if s != Status.UNAVAILABLE])
def test_only_unavailable_is_retried(status: int) -> None:
    """Every other status is final: time that is gone stays gone, a wrong question stays wrong."""
    outcome, pauses = tried([(status, 0.1)])
    assert (outcome.status, pauses) == (status, [])


def test_unavailable_is_retried_once_after_a_short_pause() -> None:
    """Two attempts at most, 5 to 20 ms apart."""
    outcome, pauses = tried([(14, 0.1), (14, 0.2)])
    assert outcome.at == 0.2
    assert len(pauses) == 1
    seen = [tried([(14, 0.1), (0, 0.2)])[1][0] for _ in range(50)]
    assert 0.005 <= min(seen) < max(seen) <= 0.020


def test_no_retry_that_would_end_past_the_deadline() -> None:
    """A pause that would spend the budget is not begun."""
    outcome, pauses = tried([(14, 0.996)])
    assert (outcome.at, pauses) == (0.996, [])


def test_no_retry_past_the_deadline_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard the second attempt is made, for nothing."""
    monkeypatch.setattr(_attempts._BudgetWouldBeSpent, "__call__", lambda *_: False)
    assert tried([(14, 0.996), (14, 1.5)])[0].at == 1.5


@given(st.integers(0, 980))
def test_the_servers_pause_is_kept(pause_ms: int) -> None:
    """A server that says how long to wait is waited for exactly so long."""
    outcome, pauses = tried([(14, 0.01), (0, 0.999)], pushback=(str(pause_ms),))
    assert (outcome.status, pauses) == (0, [pause_ms / 1000])


@pytest.mark.parametrize(
    "pushback",
    ["-1", "-0", "", " 5", "5 ", "+5", "05", "5.0", "1e3", "5_0", "\u0665", "ms", "99999999999"],
)
def test_a_server_that_asks_for_no_retry_gets_none(pushback: str) -> None:
    """Negative means no, and so does whatever is not a number as gRFC A6 writes it."""
    assert tried([(14, 0.1)], pushback=(pushback,))[1] == []


def test_two_pauses_are_none() -> None:
    """Who says two things has not said how long: no retry."""
    assert tried([(14, 0.1)], pushback=("5", "5"))[1] == []


def test_a_pause_beyond_the_budget_is_no_retry() -> None:
    """The server may ask for any pause; the budget does not grow for it."""
    outcome, pauses = tried([(14, 0.1)], pushback=("900",))
    assert (outcome.at, pauses) == (0.1, [])
    assert tried([(14, 0.1), (0, 0.9995)], pushback=("899",))[1] == [0.899]


@pytest.mark.parametrize("status", [s for s in range(17) if s != Status.UNAVAILABLE])
def test_a_servers_pause_does_not_make_a_status_retried(status: int) -> None:
    """A server cannot ask for more retries than the policy makes."""
    assert tried([(status, 0.1)], pushback=("1",))[1] == []


def test_retries_stop_while_half_of_the_tokens_are_gone() -> None:
    """As in gRFC A6: ten tokens, one for each failed attempt, a tenth back for each answer."""
    throttle = RetryThrottle()
    made = [len(tried([(14, 0.1), (14, 0.2)], throttle=throttle)[1]) for _ in range(6)]
    # Two calls spend two tokens each; the third spends the fifth token, and has no retry.
    assert made == [1, 1, 0, 0, 0, 0]
    for _ in range(40):
        throttle.answered()
    assert throttle.allows  # six tokens; the next failure takes one of them first
    assert tried([(14, 0.1)], throttle=throttle)[1] == []
    for _ in range(11):
        throttle.answered()
    assert len(tried([(14, 0.1), (0, 0.2)], throttle=throttle)[1]) == 1


@given(st.lists(st.booleans(), max_size=300))
def test_the_throttle_is_the_bucket_of_a6(answers: list[bool]) -> None:
    """Against the text of gRFC A6, in exact fractions."""
    throttle, tokens = RetryThrottle(), Fraction(10)
    for answered in answers:
        if answered:
            throttle.answered()
            tokens = min(Fraction(10), tokens + Fraction(1, 10))
        else:
            throttle.failed()
            tokens = max(Fraction(0), tokens - 1)
        assert throttle.allows == (tokens > 5)


def test_retries_stop_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the throttle every one of a thousand failing calls would be made twice."""
    monkeypatch.setattr(RetryThrottle, "allows", True)
    throttle = RetryThrottle()
    assert all(tried([(14, 0.1), (14, 0.2)], throttle=throttle)[1] for _ in range(50))


# -- budgets ----------------------------------------------------------------------------


@given(st.none() | st.integers() | st.floats())
def test_a_budget_is_never_more_than_five_seconds(timeout: float | None) -> None:
    """Whatever number is given: between nothing and 5 s, and never more than was given."""
    budget = _arguments.budget(timeout, 0.25)
    assert 0 <= budget <= 5
    if timeout is None:
        assert budget == 0.25
    elif timeout > 0:
        assert budget == min(timeout, 5)
    else:
        assert budget == 0


@pytest.mark.parametrize("timeout", [0, 0.0, -1, -math.inf, math.nan])
def test_no_time_is_a_denial_not_an_error(timeout: float) -> None:
    """A remainder that was used up is denied without asking."""
    with pytest.raises(Refusal) as refused:
        _core.begin(question(), 0.0, _arguments.budget(timeout, 0.25))
    assert refused.value.cause is Cause.UNREACHABLE


@pytest.mark.parametrize("timeout", ["1", True, [1], b"1", 1j, object()])
def test_a_timeout_that_is_no_number_is_the_programs_error(timeout: Any) -> None:
    """Not data but a bug: raised, before anything is sent."""
    with pytest.raises(TypeError, match="timeout"):
        _arguments.budget(timeout, 0.25)


@pytest.mark.parametrize("budget_s", [0, -1, 5.001, math.inf, math.nan])
def test_a_clients_budget_is_within_its_limits(budget_s: float) -> None:
    """A client cannot be made with a budget that is none, or above the cap."""
    with pytest.raises(ValueError, match="budget_s"):
        _arguments.check_budget_s(budget_s)


def test_a_clients_budget_is_a_number() -> None:
    """True is not one second."""
    with pytest.raises(TypeError, match="budget_s"):
        _arguments.check_budget_s(True)


# -- questions --------------------------------------------------------------------------


class _Raising(Mapping[str, Any]):
    """A mapping of the calling program that breaks while it is read."""

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(["key"])

    def __len__(self) -> int:
        return 1


class _Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("nothing can be said about it")


class _RaisingTheUnspeakable(_Raising):
    def __len__(self) -> int:
        raise _Unspeakable


def cyclic() -> list[Any]:
    """A list that contains itself."""
    endless: list[Any] = []
    endless.append(endless)
    return endless


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, Any] = {
    "not a map": [1, 2],
    "a number": 0,
    "an object": {"a": object()},
    "a class": {"a": int},
    "a set": {"a": {1}},
    "not a number": {"a": math.nan},
    "infinity": {"a": math.inf},
    "too big": {"a": 2**63},
    "too small": {"a": -(2**63) - 1},
    "a lone surrogate": {"a": "\ud800"},
    "a lone surrogate as key": {"\udfff": 1},
    "a key that is no string": {1: 1},
    "too deep": {"a": nested(50)},
    "very deep": {"a": nested(5_000)},
    "cyclic": {"a": cyclic()},
    "too wide": {"a": list(range(20_000))},
    "too long": {"a": "a" * 300_000},
    "too many bytes": {"a": b"a" * 300_000},
    "raising": _Raising(),
    "raising the unspeakable": _RaisingTheUnspeakable(),
    "raising below": {"a": _Raising()},
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["context", "subject", "action", "resource"])
def test_hostile_data_is_a_denial(name: str, place: str) -> None:
    """Data that cannot be asked about is DENY(INVALID), wherever it is put."""
    data = HOSTILE[name]
    changes: dict[str, Any] = {
        "context": {"context": data},
        "subject": {"subject": Subject("user", "alice", data)},
        "action": {"action": Action("read", data)},
        "resource": {"resource": Resource("report", "7", data)},
    }[place]
    with pytest.raises(Exception) as caught:  # noqa: PT011 whatever it is, it becomes a denial
        _core.begin(question(**changes), 0.0, 1.0)
    conclusion = _core.denial(caught.value, asked=False)
    assert conclusion.decision == Decision(Effect.DENY, Cause.INVALID)
    assert conclusion.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": Subject("user", "")},
        {"subject": Subject("", "alice")},
        {"subject": Subject("user", None)},  # type: ignore[arg-type]
        {"subject": Subject("user", 7)},  # type: ignore[arg-type]
        {"action": ""},
        {"action": "\ud800"},
        {"resource": Resource("report", b"7")},  # type: ignore[arg-type]
        {"resource": Resource("report", "7" * 2_000_000)},
        {"tenant": None},
        {"tenant": "\ud800"},
    ],
)
def test_names_that_cannot_be_asked_about_are_a_denial(changes: dict[str, Any]) -> None:
    """Nobody being logged in is data too: `Subject("user", None)` is denied, not raised."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        _core.begin(question(**changes), 0.0, 1.0)
    assert _core.denial(caught.value, asked=False).decision.cause is Cause.INVALID


def test_weight_is_checked_before_anything_is_encoded_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the check of weight, 20,000 values would be encoded on the caller's budget."""
    wide = question({"a": list(range(20_000))})
    with pytest.raises(Exception, match="too many values"):
        _core.begin(wide, 0.0, 1.0)
    monkeypatch.setattr(_core, "check_weight", _no_check)
    assert _core.begin(wide, 0.0, 1.0).message


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
junk = st.recursive(
    scalars | st.builds(object) | st.complex_numbers() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(scalars, inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(junk, junk, st.text() | junk)
def test_any_data_is_asked_or_denied(context: Any, properties: Any, name: Any) -> None:
    """Fuzz: a question is encoded so that the PDP reads what was meant, or is denied as invalid."""
    try:
        call = _core.begin(question(context, subject=Subject("user", name, properties)), 0.0, 1.0)
    except Exception as error:  # noqa: BLE001 as the drivers do
        conclusion = _core.denial(error, asked=False)
        assert conclusion.decision == Decision(Effect.DENY, Cause.INVALID)
        assert conclusion.unexpected is None
        return
    read = wire.parse_request(call.message)
    assert read.subject.id == name
    assert read.request_id == call.request_id
    assert call.digest == hashlib.sha256(call.message).digest()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject", {"type": "user", "id": "alice"}),
        ("subject", ("user", "alice")),
        ("subject", None),
        ("subject", REPORT),
        ("action", b"read"),
        ("action", None),
        ("resource", "report:7"),
        ("resource", ALICE),
    ],
)
def test_arguments_of_another_class_are_the_programs_error(name: str, value: Any) -> None:
    """A wrong class is a bug in the calling program: raised with the argument's name."""
    with pytest.raises(TypeError, match=name):
        question(**{name: value})


@pytest.mark.parametrize(
    "can_meet",
    [("custom", "watermark"), "ab", [("custom",)], [["custom", "watermark"]], [("custom", 1)], [1]],
)
def test_can_meet_holds_pairs(can_meet: Any) -> None:
    """A pair instead of a set of pairs is what people write; it must not pass for something."""
    with pytest.raises(TypeError, match="can_meet"):
        _arguments.check_can_meet(can_meet)


# -- what comes out ---------------------------------------------------------------------


def test_a_peers_words_are_safe_to_log() -> None:
    """Control characters, line breaks and length are the peer's; the log line is ours."""
    conclusion = concluded(asked(), Outcome(13, None, "\n2026 permitted\x1b[2J" + "x" * 9999, 0.5))
    assert "\n" not in conclusion.reason
    assert "\x1b" not in conclusion.reason
    assert len(conclusion.reason) < 400
    assert "permitted" in conclusion.reason


def test_an_unexpected_error_is_a_denial_that_does_not_quote_it() -> None:
    """Its words may hold attributes of a request, and asking for them may raise."""
    conclusion = _core.denial(_Unspeakable(), asked=True)
    assert conclusion.decision == Decision(Effect.DENY, Cause.UNUSABLE)
    assert conclusion.reason == "unexpected _Unspeakable"
    assert isinstance(conclusion.unexpected, _Unspeakable)


def test_access_denied_carries_the_decision() -> None:
    """The exception is picklable, says the cause and the rules, and is no OSError to be retried."""
    decision = Decision(Effect.DENY, Cause.RULE, ("expense/nobody-approves-their-own",))
    denied = AccessDenied(decision)
    assert denied.decision is decision
    assert str(denied) == "access denied (RULE by expense/nobody-approves-their-own)"
    again = pickle.loads(pickle.dumps(copy.copy(denied)))  # noqa: S301 our own
    assert (again.decision, again.reason) == (decision, "")
    assert not isinstance(denied, OSError)


def test_the_core_knows_no_clock_no_socket_and_no_grpc() -> None:
    """What the header says that the file may not know, it does not import."""
    imported = set()
    for name in ("_core", "_arguments", "_breaker", "_throttle", "_lines"):
        tree = ast.parse((ROOT / f"clients/python/pdp_client/{name}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    assert imported <= {
        "__future__", "collections", "dataclasses", "enum", "hashlib", "math", "re",
        "typing", "google", "pdp", "pdp_client", "tenacity",
    }  # fmt: skip


def test_a_denial_is_a_denial_whatever_it_obliges_to() -> None:
    """Duties that the program has not declared make a permit UNUSABLE; a denial stays."""
    call = asked()
    answer = pb.AuthorizeResponse(
        request_id=pb.AuthorizeRequest.FromString(call.message).request_id,
        request_digest=call.digest,
        effect=pb.EFFECT_DENY,
        cause=pb.CAUSE_RULE,
        rules=["p/nobody"],
    )
    answer.obligations.add(type="alarm", id="tell-security")
    answer.advice.add(type="link", id="how-to-ask")
    answer.reason_user.add(rule="p/nobody", text="ask your lead")
    decision = concluded(call, ended(answer.SerializeToString())).decision
    assert (decision.effect, decision.cause) == (Effect.DENY, Cause.RULE)
    assert [duty.id for duty in decision.obligations] == ["tell-security"]
    assert [item.id for item in decision.advice] == ["how-to-ask"]
    assert [reason.text for reason in decision.reason_user] == ["ask your lead"]


def test_advice_that_nobody_knows_leaves_a_permit_as_it_is() -> None:
    """It may be ignored; that is what tells it from an obligation."""
    call = asked()
    answer = honest(call)
    answer.advice.add(type="unheard", id="of")
    assert concluded(call, ended(answer.SerializeToString())).decision
    answer.obligations.add(type="unheard", id="of")
    assert not concluded(call, ended(answer.SerializeToString())).decision
