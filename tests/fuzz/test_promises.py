"""Each hostile input keeps its promise: under Hypothesis here, coverage-guided in `make prove`.

docs/fuzzing.md lists the inputs, what is promised of each, and the tests. This file
holds that table to the code.
"""

from __future__ import annotations

import bz2
import gzip
import os
import random
import re
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pdp import archive as archive_module
from pdp.archive import read_archive
from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.errors import BundleRefusedError, ConfigurationError
from pdp.identity.trust import load_trust_bundle
from tests import threat_models
from tests.conftest import ROOT, Ledger
from tests.fuzz.targets import TARGETS, Running, damage
from tests.simulators.certificates import TRUST_DOMAIN

PAGE = ROOT / "docs" / "fuzzing.md"
SEED = 20_261_123
# Of one campaign of `make prove`; more for a night's run. Whichever of the two ends first.
SECONDS = int(os.environ.get("PORTCULLIS_FUZZ_SECONDS", "60"))
RUNS_MAX = 5_000_000

# Where each target's promise is made. With that error exchanged for one that nobody promised,
# or that guard gone, the check must fail: it does look.
TWINS = {
    "request": ("pdp.server.authorization", "InvalidRequestError", OverflowError),
    "batch": ("pdp.server.batch", "InvalidRequestError", OverflowError),
    "conversation": ("pdp.server.stream", "InvalidRequestError", OverflowError),
    "check_request": ("pdp.server.envoy.door", "InvalidRequestError", LookupError),
    "policy": ("pdp.authoring.compilation", "compiled", None),
    "archive": ("pdp.archive", "BundleRefusedError", LookupError),
    "compiled": ("pdp.compiled", "DocumentError", LookupError),
    "checked": ("pdp.checked_expr", "ExpressionError", LookupError),
    "spool": ("pdp.audit.log", "RecordError", LookupError),
    "certificate": ("pdp.identity.svid", "IdentityError", LookupError),
    "answer": ("pdp_client._core", "_check_request_digest", lambda *_: None),
    "batch_answer": ("pdp_client._core", "_check_request_digest", lambda *_: None),
}


@pytest.fixture(scope="module", params=sorted(TARGETS))
def target(request: pytest.FixtureRequest) -> Iterator[tuple[str, Running]]:
    """Each target, set up once."""
    with TARGETS[request.param]() as running:
        yield request.param, running


def test_good_inputs_are_accepted(target: tuple[str, Running]) -> None:
    """What the search starts from is valid: damage is near to it, and not noise from the start."""
    _, running = target
    assert len(running.seeds) >= 2
    assert all(running.check(seed) for seed in running.seeds)


@given(data=st.binary(max_size=300))
@settings(max_examples=40)
def test_any_bytes_keep_the_promise(target: tuple[str, Running], data: bytes) -> None:
    """Noise is refused, or is what it would have to be."""
    target[1].check(data)


@given(which=st.integers(0, 99), seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_damaged_inputs_keep_the_promise(
    target: tuple[str, Running], which: int, seed: int
) -> None:
    """A good input with a few changes is refused, or is what it would have to be."""
    running = target[1]
    running.check(damage(running.seeds[which % len(running.seeds)], random.Random(seed)))


def test_damaged_inputs_twin_without_guard(
    target: tuple[str, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every check notices an error that nobody promised, or a permit without a guard."""
    name, running = target
    module, attribute, instead = TWINS[name]
    chance = random.Random(SEED)
    damaged = [damage(chance.choice(running.seeds), chance) for _ in range(200)]
    for data in damaged:
        running.check(data)
    monkeypatch.setattr(f"{module}.{attribute}", instead)
    noticed = 0
    for data in damaged:
        try:
            running.check(data)
        except Exception:  # noqa: BLE001 whatever it is, it was not promised
            noticed += 1
            break
    assert noticed


def der_root() -> bytes:
    """An authority."""
    pem = ThrowawayAuthority(TRUST_DOMAIN).bundle_pem
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def _unreadable_subject(der: bytes) -> bytes:
    subject = x509.load_der_x509_certificate(der).subject.public_bytes()
    at = der.rindex(subject) + 4
    return der[:at] + b"\x55" + der[at + 1 :]


def _version_that_does_not_exist(der: bytes) -> bytes:
    return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)


def _extension_twice(der: bytes) -> bytes:
    # keyUsage (2.5.29.15) becomes a second basicConstraints (2.5.29.19).
    return der.replace(b"\x06\x03\x55\x1d\x0f", b"\x06\x03\x55\x1d\x13", 1)


@pytest.mark.parametrize(
    "harm", [_unreadable_subject, _version_that_does_not_exist, _extension_twice]
)
def test_authority_that_cannot_be_read_is_a_configuration_error(
    harm: Callable[[bytes], bytes],
) -> None:
    """Found by the coverage-guided fuzzer: the library reads late, and has many errors."""
    from tests.test_svid import pem_of

    good = der_root()
    bad = harm(good)
    assert bad != good
    assert load_trust_bundle(TRUST_DOMAIN, pem_of(good)).authorities
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_trust_bundle(TRUST_DOMAIN, pem_of(bad))


# -- archives of another writer -------------------------------------------------------------------

HARMLESS = ("a", "a/b", "b.yaml", "sources/c.yaml")
ELSEWHERE = ("../a", "/a", "a/../../b", "a//b", "./a", "a/.", "a\\b", "", "é", "a\x01", "..", "a/")
OTHER_KINDS = (
    tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
    tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XGLTYPE,
)  # fmt: skip
BOMB = 8**11 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """One member as another writer would write it."""

    name: str
    data: bytes
    kind: bytes = tarfile.REGTYPE
    claims: int | None = None

    def to_bytes(self) -> bytes:
        """Header, with a checksum that is right, and content."""
        info = tarfile.TarInfo(self.name)
        info.type = self.kind
        info.linkname = "../../etc/passwd" if self.kind in OTHER_KINDS[:2] else ""
        info.size = len(self.data) if self.claims is None else self.claims
        head = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "surrogateescape")
        # Python leaves device numbers out; POSIX has them, and so has our writer.
        head = head[:329] + b"0000000\0" * 2 + head[345:]
        blank = head[:148] + b" " * 8 + head[156:]
        head = head[:148] + b"%06o\0 " % sum(blank) + head[156:]
        return head + self.data + bytes(-len(self.data) % 512)

    @property
    def harmless(self) -> bool:
        """Whether our own writer might have written it."""
        plain = self.kind == tarfile.REGTYPE and self.claims in {None, len(self.data)}
        return self.name in HARMLESS and plain


def members() -> st.SearchStrategy[Member]:
    """Mostly harmless."""
    # Without zeros, which could pass for padding: then a lie would be true.
    data = st.binary(min_size=1, max_size=700).map(lambda data: data.replace(b"\0", b"x"))
    name = st.sampled_from(HARMLESS)
    return st.one_of(
        st.builds(Member, name, data),
        st.builds(Member, name, data),
        st.builds(Member, st.sampled_from(ELSEWHERE), data),
        st.builds(Member, name, data, st.sampled_from(OTHER_KINDS)),
        st.builds(Member, name, data, claims=st.sampled_from([0, 1, 513, 70_000, BOMB])),
    )


def refused(archive: bytes) -> bool:
    """Whether the reader refuses it, having asked for no more memory than it was given."""
    tracemalloc.start()
    try:
        read_archive(archive)
    except BundleRefusedError as error:
        assert str(error).isprintable()  # noqa: PT017 both ends are asserted
        return True
    else:
        return False
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 4 * len(archive) + 500_000


@given(
    st.lists(members(), min_size=1, max_size=4),
    st.sampled_from([bytes] * 5 + [gzip.compress, bz2.compress, zlib.compress]),
    st.sampled_from([1_024] * 5 + [0, 512, 10_240]),
)
@settings(max_examples=200)
def test_hostile_archives_of_another_writer_are_refused(
    found: list[Member], pack: Callable[[bytes], bytes], end: int
) -> None:
    """Duplicates, links, devices, ways out, lying sizes, wrong ends and compression, combined."""
    archive = pack(b"".join(member.to_bytes() for member in found) + bytes(end))
    names = [member.name for member in found]
    good = all(
        [
            pack is bytes,
            end == 1_024,
            all(member.harmless for member in found),
            names == sorted(set(names)),
        ]
    )
    event(f"good: {good}")
    assert refused(archive) is not good


@pytest.mark.parametrize("guard", ["_check_name", "write_archive"])
def test_hostile_archives_twin_without_guard(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of names, or of the one spelling, a way out gets in: the oracle says so."""
    name = "../a" if guard == "_check_name" else "a"
    archive = Member(name, b"x").to_bytes() + bytes(1_024 if guard == "_check_name" else 10_240)
    assert refused(archive)
    if guard == "_check_name":
        monkeypatch.setattr(archive_module, guard, lambda *_: None)
    else:
        monkeypatch.setattr(archive_module, guard, lambda *_: archive)
    assert not refused(archive)


# -- the page -------------------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """Test ids of the page's table, by target."""
    found = {}
    for line in PAGE.read_text().splitlines():
        match = re.match(r"\| `(\w+)` \|", line)
        if match:
            found[match[1]] = re.findall(r"`(tests/[\w/]+\.py::\w+)`", line)
    return found


def test_page_lists_every_input_and_tests_that_exist() -> None:
    """No input without its tests, and no test that was renamed away."""
    listed = rows()
    assert list(listed) == list(TARGETS)
    for name, tests in listed.items():
        assert tests, name
        for test in tests:
            path, _, function = test.partition("::")
            names, text = threat_models._test_names(ROOT / path)
            assert function in names, test
            body = re.search(rf"((?:^@.*\n|^ .*\n|^\)\n)*)def {function}\b", text, re.MULTILINE)
            assert body
            assert "given(" in body[1], f"{test} is no property test"


def test_page_lists_every_campaign_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that the page does not know is noticed."""
    monkeypatch.setitem(TARGETS, "invented", TARGETS["request"])
    with pytest.raises(AssertionError):
        test_page_lists_every_input_and_tests_that_exist()


# -- coverage-guided ------------------------------------------------------------------------------


def campaign(name: str, folder: Path, *flags: str) -> tuple[int, str]:
    """One run of libFuzzer in a process of its own: its exit code, and what it printed."""
    corpus = folder / "corpus"
    corpus.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.atheris_child", name, str(corpus)),
            *(f"-seed={SEED}", "-timeout=30", "-rss_limit_mb=1024", "-max_len=16384"),
            *(f"-artifact_prefix={folder}/", *flags),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS + 300,
        check=False,
    )
    shown = done.stdout.decode(errors="replace").splitlines()
    return done.returncode, "\n".join(line for line in shown if "Instrumenting" not in line)


def figures(printed: str, moment: str) -> tuple[int, int, int]:
    """Runs, edges and features at a moment, from libFuzzer's own lines."""
    match = re.search(rf"(?m)^#(\d+)\s+{moment}\s+cov: (\d+) ft: (\d+)", printed)
    assert match, printed[-3_000:]
    return int(match[1]), int(match[2]), int(match[3])


@pytest.mark.prove
@pytest.mark.timeout(SECONDS + 400)
@pytest.mark.parametrize("name", TARGETS)
def test_coverage_guided_search_breaks_no_promise(
    name: str, tmp_path: Path, ledger: Ledger
) -> None:
    """The fuzzer looks for new paths, from valid inputs on; no input on any is a surprise."""
    code, printed = campaign(name, tmp_path, f"-max_total_time={SECONDS}", f"-runs={RUNS_MAX}")
    assert code == 0, printed[-5_000:]
    assert not [path for path in tmp_path.iterdir() if path.name != "corpus"]
    _, edges_first, features_first = figures(printed, "INITED")
    runs, edges, features = figures(printed, "DONE")
    # It was guided: it found more of the code than the valid inputs do.
    assert features > features_first
    ledger(
        seed=SEED,
        runs=runs,
        seconds=SECONDS,
        edges=edges,
        edges_of_valid_inputs=edges_first,
        features=features,
        features_of_valid_inputs=features_first,
        inputs_kept=len(list((tmp_path / "corpus").iterdir())),
    )


@pytest.mark.prove
def test_coverage_guided_search_twin_with_a_planted_fault(tmp_path: Path, ledger: Ledger) -> None:
    """A fault behind six bytes in a row, which no blind search would find, is found."""
    code, printed = campaign("planted", tmp_path, "-runs=5000000", "-max_total_time=120")
    assert code != 0
    assert "the planted fault" in printed
    (found,) = tmp_path.glob("crash-*")
    assert found.read_bytes().startswith(b"permit")
    ledger(seed=SEED, runs_at_least=int(re.findall(r"(?m)^#(\d+)\s", printed)[-1]))
