"""The parts of `pdp dev`: callers that are played, saves that are seen, records that are told."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdp.authoring.checker import Checker
from pdp.authoring.compilation import Compilation, compile_sources
from pdp.authoring.fields import NAME
from pdp.authoring.policy_tests import read_tests
from pdp.authoring.watching import Watch
from pdp.callers import CallerEntry, CallerPolicy
from pdp.cel.limits import EvaluationLimits
from pdp.cli.dev import parse_address
from pdp.config.settings import Address
from pdp.dev.cast import cast_of, render, staged, telling_rules
from pdp.dev.decisions import DecisionSeen, TellingRecorder
from pdp.dev.folder import development_folder
from pdp.dev.news import _DECISIONS_WAITING_MAX, Dropped, News, NewsDesk, Trouble
from pdp.dev.press import Certificates
from pdp.dev.question import first_question, program
from pdp.dev.workbench import Workbench
from pdp.errors import BundleRefusedError, ConfigurationError, SpoolError, SpoolSuppressedError
from pdp.model import RecordRef
from pdp.publishing.building import PolicyProblemsError
from pdp.v1 import audit_pb2
from pdp.v1 import authorization_pb2 as pb
from tests.test_dev import CALLERS, POLICY, TESTS

NOTHING = Compilation((), (), (), None, {})


def entry(name: str, **changes: object) -> CallerEntry:
    """A caller that may read notes."""
    fields: dict[str, object] = {
        "resources": ("note",), "actions": ("read",), "asserts": ("user",)
    }  # fmt: skip
    return CallerEntry(name, **{**fields, **changes})  # type: ignore[arg-type]


# -- whose callers are played ---------------------------------------------------------------------


def test_one_trust_domain_is_played_and_others_are_left_out() -> None:
    """Two callers of two domains never become one: what one may, the other must not get."""
    callers = CallerPolicy(
        (
            entry("spiffe://a.example/web"),
            entry("spiffe://b.example/web", actions=("*",)),
            entry("spiffe://a.example/jobs/*"),
        )
    )
    cast = cast_of(callers)
    assert [item.id for item in cast.policy.entries] == [
        "spiffe://dev.invalid/web",
        "spiffe://dev.invalid/jobs/*",
    ]
    assert cast.policy.entries[0].actions == ("read",)
    assert cast.left_out == ("spiffe://b.example/web",)
    assert [role.path for role in cast.roles] == ["web", "jobs/somebody"]
    other = cast_of(callers, "b.example")
    assert [item.actions for item in other.policy.entries] == [("*",)]
    with pytest.raises(ConfigurationError, match="no caller is of the trust domain `c`"):
        cast_of(callers, "c")


def test_a_pattern_is_played_by_a_caller_that_tests_name() -> None:
    """Its certificate is of somebody that the author knows; `path_of` finds it again."""
    callers = CallerPolicy((entry("spiffe://a.example/jobs/*"),))
    known = ["spiffe://b.example/jobs/x", "spiffe://a.example/web", "spiffe://a.example/jobs/y/z"]
    cast = cast_of(callers, known=known)
    assert [role.path for role in cast.roles] == ["jobs/y/z"]
    assert cast.path_of("spiffe://a.example/jobs/y/z") == "jobs/y/z"
    assert cast.path_of("spiffe://b.example/jobs/y/z") is None
    assert cast.path_of("spiffe://a.example/jobs/other") is None


NAMES = st.one_of(
    st.just(("*",)),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Z", "Cn"]), min_size=1,
                max_size=8).filter(lambda text: "*" not in text and not NAME.complaint(text)),
        min_size=1, max_size=3, unique=True,
    ).map(tuple),
)  # fmt: skip


@given(
    names=st.tuples(NAMES, NAMES, st.one_of(st.none(), NAMES)),
    may=st.sets(st.sampled_from(["explain", "batch", "search"])),
)
@settings(max_examples=60)
def test_callers_that_are_written_anew_say_the_same(
    names: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None], may: set[str]
) -> None:
    """What signs compiles the written document and compares: it must be the very same entries."""
    one = CallerEntry(
        "spiffe://dev.invalid/web", names[0], names[1], names[2], ("default",), frozenset(may)
    )
    checker = Checker()  # its process is not needed for callers, and so not started
    found = compile_sources({"callers.yaml": render(CallerPolicy((one,)))}, checker)
    assert found.callers == CallerPolicy((one,)), found.problems


def test_only_the_callers_differ_in_what_is_staged() -> None:
    """Policies are the very same bytes, source and compiled form."""
    found = compile_sources({"notes.yaml": POLICY.encode(), "callers.yaml": CALLERS.encode()})
    assert found.callers is not None
    played = staged(found, cast_of(found.callers))
    before, after = ({item.source_path: item for item in c.documents} for c in (found, played))
    assert before["notes.yaml"] == after["notes.yaml"]
    assert before["callers.yaml"] != after["callers.yaml"]
    assert b"example.org" not in after["callers.yaml"].compiled


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ('caller.id == "spiffe://example.org/web"', True),
        ('caller.trust_domain == "example.org"', True),
        ('caller["id"] == "spiffe://example.org/web"', True),
        ("size(caller) == 3", True),
        ('caller.path == "/web"', False),
        ("resource.properties.public", False),
    ],
)
def test_rules_that_could_notice_are_told(condition: str, told: bool) -> None:
    """A condition about the trust domain answers differently here, and an author must know."""
    text = POLICY.replace("resource.properties.public", f"'{condition}'")
    found = compile_sources({"notes.yaml": text.encode(), "callers.yaml": CALLERS.encode()})
    assert not found.problems
    policies = found.policy_set(EvaluationLimits())
    assert telling_rules(policies, found, 1) == (("notes/everybody-reads",) if told else ())


# -- the first question ---------------------------------------------------------------------------


def test_first_question_is_permitted_now_and_not_when_its_test_was_written() -> None:
    """A rule that has expired by now is in no program, though its test passes for ever."""
    text = POLICY + "    expires: 2026-10-01T00:00:00Z\n"
    found = compile_sources({"notes.yaml": text.encode(), "callers.yaml": CALLERS.encode()})
    assert found.callers is not None
    cast, policies = cast_of(found.callers), found.policy_set(EvaluationLimits())
    rows = read_tests({"notes_test.yaml": TESTS.encode()}).rows
    before, after = 1_790_000_000 * 10**9, 1_800_000_000 * 10**9
    asked = first_question(found, policies, cast, rows, before)
    assert (asked.words, asked.path) == ("a public note is read", "web")
    blank = first_question(found, policies, cast, rows, after)
    assert blank.words.startswith("no test's question is permitted now")
    assert (blank.path, blank.request.resource.type, blank.request.action.name) == (
        "web", "note", "read",
    )  # fmt: skip
    for question in (asked, blank):
        text = program(question, Address("::1", 8443), Path("a'b"), Path("c"), Path("d"))
        compile(text, "ask.py", "exec")
        assert "'[::1]:8443'" in text


# -- saves ----------------------------------------------------------------------------------------


def test_a_save_counts_once_and_only_at_rest(tmp_path: Path) -> None:
    """Two looks in a row must see the same; what is no document does not count."""
    (tmp_path / "a.yaml").write_text("a")
    watch = Watch(tmp_path)
    assert not watch.changed()
    (tmp_path / "a.yaml").write_text("")
    assert not watch.changed()
    (tmp_path / "a.yaml").write_text("bc")
    assert not watch.changed()
    assert watch.changed()
    assert not watch.changed()
    (tmp_path / ".a.yaml.swp").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert [watch.changed() for _ in range(3)] == [False] * 3
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.yml").write_text("b")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    # As editors save: another file under the old name, even with the old times.
    about = (tmp_path / "a.yaml").stat()
    (tmp_path / "new").write_text("de")
    os.utime(tmp_path / "new", ns=(about.st_atime_ns, about.st_mtime_ns))
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    assert [watch.changed() for _ in range(3)] == [False, True, False]
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "below" / "b.yml").unlink()
    (tmp_path / "below").rmdir()
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_what_the_server_refuses_is_not_called_served(tmp_path: Path) -> None:
    """A publication that fails leaves the old edition, and the next look tries again."""
    for name, text in (("notes.yaml", POLICY), ("callers.yaml", CALLERS)):
        (tmp_path / name).write_text(text)
    failures: list[Exception] = []

    def publish(_: Compilation) -> int:
        if failures:
            raise failures[0]
        return 7

    with Checker() as checker:
        bench = Workbench(tmp_path, checker, publish)
        first = bench.look()
        assert first.published
        assert first.is_new
        again = bench.look()
        assert again.published
        assert not again.is_new
        (tmp_path / "notes.yaml").write_text(POLICY.replace("public\n", "public == true\n", 1))
        for failure in (BundleRefusedError("no"), PolicyProblemsError([]), OSError(28, "full")):
            failures[:] = [failure]
            report = bench.look()
            assert not report.published
            assert report.refused
            assert report.served is first.served
        failures.clear()
        assert bench.look().is_new
        (tmp_path / "notes.yaml").unlink()
        gone = bench.look()
        assert gone.problems
        assert not gone.published
        assert gone.served is not None


# -- records and news -----------------------------------------------------------------------------


class Simulated:
    """A recorder whose futures are resolved by the test."""

    healthy = True

    def __init__(self) -> None:
        self.futures: list[asyncio.Future[RecordRef]] = []

    def append(self, record: audit_pb2.DecisionRecord, time_ns: int) -> asyncio.Future[RecordRef]:
        """Not durable yet."""
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


@pytest.mark.parametrize(
    ("settle", "recorded"),
    [
        (lambda f: f.set_result(RecordRef("dev/0/1", 1, bytes(32))), "yes"),
        (lambda f: f.set_exception(SpoolError("disk")), "no"),
        (lambda f: f.set_exception(SpoolSuppressedError("many")), "counted"),
        (lambda f: f.cancel(), "no"),
    ],
)
def test_a_decision_is_told_once_its_record_is_settled(
    settle: Callable[[asyncio.Future[RecordRef]], object], recorded: str
) -> None:
    """Not before, and the decision point waits for the recorder's own future."""

    async def scene() -> None:
        told: list[DecisionSeen] = []
        inner = Simulated()
        recorder = TellingRecorder(inner, told.append, lambda: 5_000_000)
        record = audit_pb2.DecisionRecord(
            effect=pb.EFFECT_PERMIT, cause=pb.CAUSE_RULE, action="read", rules=["a/b"]
        )
        record.caller.spiffe_id = "spiffe://dev.invalid/web"
        record.subject.type, record.subject.id = "user", "ana"
        assert recorder.append(record, 2_000_000) is inner.futures[0]
        await asyncio.sleep(0)
        assert not told
        settle(inner.futures[0])
        await asyncio.sleep(0)
        assert [(seen.caller, seen.subject, seen.recorded) for seen in told] == [
            ("web", "user:ana", recorded)
        ]
        assert (told[0].effect, told[0].cause, told[0].elapsed_us) == ("PERMIT", "RULE", 3_000)
        inner.healthy = False
        assert not recorder.healthy

    asyncio.run(scene())


def test_a_stopped_terminal_holds_nobody_up() -> None:
    """Decisions beyond what may wait are counted; nothing blocks, and the count is shown."""
    stopped, shown = threading.Event(), []

    def show(news: News) -> None:
        stopped.wait(10)
        shown.append(news)

    seen = DecisionSeen(0, "DENY", "RULE", "web", "u:a", "read", "n:1", (), 1, "yes")
    with NewsDesk(show) as desk:
        for _ in range(_DECISIONS_WAITING_MAX + 500):
            desk.tell(seen)
        desk.tell(Trouble("kept"))
        stopped.set()
        while len(shown) < _DECISIONS_WAITING_MAX:
            time.sleep(0.01)
        desk.tell(seen)
    assert shown.count(seen) <= _DECISIONS_WAITING_MAX + 2
    assert Trouble("kept") in shown
    dropped = [news.count for news in shown if isinstance(news, Dropped)]
    assert sum(dropped) + shown.count(seen) == _DECISIONS_WAITING_MAX + 501


# -- folder, files, command line ------------------------------------------------------------------


def test_a_folder_that_is_not_ours_is_not_touched(tmp_path: Path) -> None:
    """Open to others, not empty, a link: each is refused, and what is there stays."""
    cases = {}
    for name, mode in (("open", 0o755), ("full", 0o700)):
        cases[name] = tmp_path / name
        cases[name].mkdir(mode=mode)
    (tmp_path / "full" / "keys").mkdir()
    (tmp_path / "mine").mkdir(mode=0o700)
    cases["link"] = tmp_path / "link"
    cases["link"].symlink_to(tmp_path / "mine")
    cases["file"] = tmp_path / "file"
    cases["file"].write_text("x")
    for path in cases.values():
        with pytest.raises(ConfigurationError, match="--dir"), development_folder(path):
            pytest.fail("entered")
    assert (tmp_path / "full" / "keys").is_dir()
    with development_folder(tmp_path / "new" / "below") as folder:
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        assert folder.kept


def test_certificates_have_names_of_their_own(tmp_path: Path) -> None:
    """Paths that differ in a slash or in case do not share a file."""
    certificates = Certificates(tmp_path / "certificates")
    certificates.issue_server("127.0.0.1")
    paths = ["a/b", "a-b", "A-B", "x" * 300, "x" * 301]
    issued = [certificates.of(path) for path in paths]
    assert len({key.name.lower() for _, key in issued}) == len(paths)
    assert certificates.of("a/b") == issued[0]
    for _, key in issued:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.0.1:", ":1", "127.0.0.1:99999", "a:1234567",
                                  "127.0.0.1:-1", "127.0.0.1:²"])  # fmt: skip
def test_listen_that_is_no_address(text: str) -> None:
    """Told with what to write."""
    with pytest.raises(ConfigurationError, match="--listen"):
        parse_address(text)
    assert parse_address("[::1]:0") == Address("::1", 0)
