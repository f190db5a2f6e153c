"""Manifest, denials, state file and what is in an archive: hostile input, though signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pdp
from pdp.admission import Denials
from pdp.archive import ArchiveLimits, write_archive
from pdp.bundle import contents
from pdp.bundle.contents import check_manifest, compile_bundle, read_bundle
from pdp.bundle.denials import EMPTY_DENIALS, parse_denials
from pdp.bundle.manifest import Manifest, parse_manifest
from pdp.bundle.memory import Memory, parse_state, render_state
from pdp.bundle.strict_json import StrictJsonError, parse_object, render
from pdp.cel.limits import EvaluationLimits
from pdp.errors import BundleRefusedError
from pdp.model import Caller, Effect, Subject
from tests.simulators.repository import (
    Files,
    archive,
    callers,
    manifest_of,
    members_of,
    policy,
    rule,
)

LIMITS = ArchiveLimits()
SIGNED_AT_S = 1_795_000_000
MEMORY = Memory(
    {"root": 1, "timestamp": 5, "snapshot": 3, "targets": 1, "policies/default": 2},
    {"policies/default/bundle.tar": "ab" * 32, "emergency/denials.json": "cd" * 32},
    1_795_000_000_123_456_789,
    1_795_000_000_000_000_000,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def honest_members() -> Files:
    """A policy and a caller policy."""
    return members_of((policy(), callers()))


def packed(members: Files, **changes: Any) -> bytes:
    """An archive of these members with a manifest of them, true unless changed."""
    manifest = manifest_of(members, 1, SIGNED_AT_S, **changes)
    return write_archive({**members, "manifest.json": manifest.to_bytes()})


def changed_somewhere(data: st.DataObject, original: bytes) -> bytes:
    """The bytes with a few edits, or others altogether."""
    out = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(out)))
        out[position : position + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    return bytes(out)


# ---- strict JSON ------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b'{"a": 1, "a": 1}', b'{"x": {"a": 1, "a": 2}}', b'{"a": NaN}', b'{"a": -Infinity}',
     b'{"a": 1.0}', b'{"a": 1e3}', b'{"a": "\\ud800"}', b"\xef\xbb\xbf{}", b'{"a": 1}x',
     b"{'a': 1}", b'{"a": 1,}', b"[]", b"1", b"null", b"", b'{"a": "\xff"}',
     '{"a": 1}'.encode("utf-16"), b'{"a":' * 5_000, b"[" * 100_000, b'{"a": "\n"}',
     b'{"a": ' + b"9" * 5_000 + b"}"],
)  # fmt: skip
def test_json_with_two_meanings_or_none_is_refused(text: bytes) -> None:
    """Duplicate keys, fractions, surrogates, other encodings, depth, digits."""
    with pytest.raises(StrictJsonError):
        parse_object(text, 200_000)


def test_json_duplicate_keys_twin_without_guard() -> None:
    """The standard reader takes the last of two keys without a word."""
    text = b'{"development": true, "development": false}'
    assert json.loads(text) == {"development": False}
    with pytest.raises(StrictJsonError, match="twice"):
        parse_object(text, 1000)


# ---- manifest ---------------------------------------------------------------


def test_manifest_round_trip() -> None:
    """What is written is read, and only in that spelling."""
    manifest = manifest_of(honest_members(), 7, SIGNED_AT_S, source_commit="abc-dirty")
    data = manifest.to_bytes()
    assert parse_manifest(data) == manifest
    for other in (data + b"\n", data.replace(b"  ", b" "), json.dumps(json.loads(data)).encode()):
        with pytest.raises(BundleRefusedError, match="not in the form"):
            parse_manifest(other)


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 2), ("format", True), ("format", "1"), ("revision", 0), ("revision", -1),
     ("revision", True), ("revision", "7"), ("revision", 2**63), ("signed_at", "yesterday"),
     ("signed_at", 7), ("signed_at", "2026-11-23T15:44:00+00:00"),
     ("signed_at", "1999-01-01T00:00:00Z"),
     ("signed_at", "2026-02-30T00:00:00Z"), ("signed_at", "2026-1-1T00:00:00Z"), ("min_pdp", "1"),
     ("min_pdp", "01.0.0"), ("min_pdp", "1.0.0-rc1"), ("min_pdp", None), ("development", 0),
     ("development", "false"), ("development", None), ("source_commit", "a b"),
     ("source_commit", None), ("members", []), ("members", {}), ("members", {"a": "A" * 64}),
     ("members", {"a": None}), ("extra", 1)],
)  # fmt: skip
def test_manifest_with_a_wrong_field_is_refused(key: str, value: object) -> None:
    """Each field has one type, one form and a range."""
    body = json.loads(manifest_of(honest_members(), 7, SIGNED_AT_S).to_bytes())
    with pytest.raises(BundleRefusedError, match=r"`manifest.json`"):
        parse_manifest(render({**body, key: value}))


@pytest.mark.parametrize("key", ["format", "revision", "signed_at", "development", "members"])
def test_manifest_without_a_field_is_refused(key: str) -> None:
    """An absent field is never a default: no `development` is not `false`."""
    body = json.loads(manifest_of(honest_members(), 7, SIGNED_AT_S).to_bytes())
    del body[key]
    with pytest.raises(BundleRefusedError):
        parse_manifest(render(body))


def test_minimum_version_is_compared_as_numbers() -> None:
    """10 is more than 9, and this version is enough for itself."""

    def needs(version: str) -> Manifest:
        return manifest_of(honest_members(), 1, SIGNED_AT_S, min_pdp=version)

    check_manifest(needs(pdp.__version__), {})
    check_manifest(needs("0.0.9"), {})
    for newer in ("0.10.0", "0.1.10", "1.0.0"):
        with pytest.raises(BundleRefusedError, match="upgrade"):
            check_manifest(needs(newer), {})


@given(st.data())
@settings(max_examples=100)
def test_fuzz_manifest(data: st.DataObject) -> None:
    """Whatever the bytes: a manifest in its one spelling, or BundleRefusedError."""
    original = manifest_of({"a": b"x"}, 7, SIGNED_AT_S).to_bytes()
    text = changed_somewhere(data, original)
    try:
        manifest = parse_manifest(text)
    except BundleRefusedError:
        return
    assert manifest.to_bytes() == text


@given(
    st.dictionaries(
        st.sampled_from(["format", "revision", "signed_at", "min_pdp", "members"]), JSON
    )
)
@settings(max_examples=60)
def test_fuzz_manifest_fields(fields: dict[str, Any]) -> None:
    """Any JSON in any field: a manifest, or BundleRefusedError."""
    body = json.loads(manifest_of({"a": b"x"}, 7, SIGNED_AT_S).to_bytes())
    try:
        parse_manifest(json.dumps({**body, **fields}).encode())
    except BundleRefusedError:
        return


# ---- what is in an archive --------------------------------------------------


def test_honest_archive_is_read() -> None:
    """Sources, compiled documents and manifest, by path."""
    bundle = read_bundle(packed(honest_members()), LIMITS)
    assert sorted(bundle.compiled) == sorted(bundle.sources) == ["callers.yaml", "documents.yaml"]
    contents = compile_bundle(bundle, EvaluationLimits())
    policies, caller_policy = contents.policies, contents.callers
    assert policies.names == {"documents"}
    assert caller_policy == callers()


def with_change(change: Callable[[Files], None]) -> Files:
    """Honest members, changed."""
    members = honest_members()
    change(members)
    return members


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m.update({"evil.py": b""}), "unknown member"),
        (lambda m: m.update({"compiled/x.exe": b""}), "unknown member"),
        (lambda m: m.update({"sources": b""}), "unknown member"),
        (lambda m: m.update({"sources/x.yaml": b""}), "no compiled form of `x.yaml`"),
        (lambda m: m.update({"compiled/x.yaml.pb": b""}), "no source of `x.yaml`"),
    ],
)
def test_members_that_do_not_belong_are_refused(
    change: Callable[[Files], None], match: str
) -> None:
    """Every member has a known place, and every document both forms."""
    with pytest.raises(BundleRefusedError, match=match):
        read_bundle(packed(with_change(change)), LIMITS)


def test_members_that_are_not_what_the_manifest_says_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changed, missing and additional members; and the twin that does not compare."""
    members = honest_members()
    manifest = manifest_of(members, 1, SIGNED_AT_S).to_bytes()
    name = "compiled/documents.yaml.pb"
    other = members_of((policy("documents", rule("other", Effect.DENY)),))[name]
    changed = {**members, name: other}
    missing = {key: value for key, value in members.items() if "callers" not in key}
    more = {**members, "sources/x.yaml": b"", "compiled/x.yaml.pb": b""}
    for wrong in (changed, missing, more):
        with pytest.raises(BundleRefusedError, match=r"is not what `manifest.json` says"):
            read_bundle(write_archive({**wrong, "manifest.json": manifest}), LIMITS)
    # The twin without guard: a manifest that is believed instead of compared.
    digests = manifest_of(changed, 1, SIGNED_AT_S)
    monkeypatch.setattr(contents, "parse_manifest", lambda _data: digests)
    evil = write_archive({**changed, "manifest.json": manifest})
    assert read_bundle(evil, LIMITS).compiled["documents.yaml"] == other


def test_archive_without_a_manifest_is_refused() -> None:
    """It says nothing about itself."""
    with pytest.raises(BundleRefusedError, match=r"has no `manifest.json`"):
        read_bundle(write_archive(honest_members()), LIMITS)


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 50, b"\x08\x63", b"\x08\x01"])
def test_documents_that_do_not_decode_are_refused(data: bytes) -> None:
    """Named by their path in the archive."""
    members = {**honest_members(), "compiled/documents.yaml.pb": data}
    bundle = read_bundle(packed(members), LIMITS)
    with pytest.raises(BundleRefusedError, match=r"`compiled/documents.yaml.pb`"):
        compile_bundle(bundle, EvaluationLimits())


def test_two_caller_policies_are_refused() -> None:
    """Which of the two would count?"""
    members = honest_members()
    for folder, suffix in (("sources", ""), ("compiled", ".pb")):
        members[f"{folder}/more.yaml{suffix}"] = members[f"{folder}/callers.yaml{suffix}"]
    with pytest.raises(BundleRefusedError, match="has 2 caller policies"):
        compile_bundle(read_bundle(packed(members), LIMITS), EvaluationLimits())


def test_two_policies_of_one_name_are_refused() -> None:
    """Rules are named by it in answers and records."""
    members = honest_members()
    for folder, suffix in (("sources", ""), ("compiled", ".pb")):
        members[f"{folder}/more.yaml{suffix}"] = members[f"{folder}/documents.yaml{suffix}"]
    with pytest.raises(BundleRefusedError, match=r"do not compile: .*defined twice"):
        compile_bundle(read_bundle(packed(members), LIMITS), EvaluationLimits())


@given(st.data())
@settings(max_examples=80)
def test_fuzz_compiled_documents(data: st.DataObject) -> None:
    """Signed bytes that are no document: BundleRefusedError, or a set of policies."""
    members = honest_members()
    name = data.draw(st.sampled_from(["compiled/documents.yaml.pb", "compiled/callers.yaml.pb"]))
    members[name] = changed_somewhere(data, members[name])
    try:
        compile_bundle(read_bundle(packed(members), LIMITS), EvaluationLimits())
    except BundleRefusedError:
        return


# ---- denials ----------------------------------------------------------------


def denials(**fields: Any) -> bytes:
    """A list of denials with these fields."""
    return render({**json.loads(EMPTY_DENIALS), **fields})


def test_denials_are_read() -> None:
    """Every kind of denial, as decisions look it up."""
    found = parse_denials(
        denials(
            callers=["spiffe://example.org/billing"],
            serials=[{"trust_domain": "example.org", "serial": "0A1F"}],
            subjects=[{"type": "user", "id": "mallory"}],
            jtis=[{"iss": "https://idp.example.org", "jti": "7"}],
        )
    )
    assert found.denies_caller(Caller("spiffe://example.org/billing"))
    # As `openssl` prints it, and as `Caller.serial` has it.
    assert found.denies_caller(Caller("spiffe://example.org/web", serial="a1f"))
    assert not found.denies_caller(Caller("spiffe://other.org/web", serial="a1f"))
    assert found.denies_subject(Subject("user", "mallory"))
    assert found.jtis == {("https://idp.example.org", "7")}
    assert parse_denials(EMPTY_DENIALS) == Denials()


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"version": 2}, "`version`"),
        ({"version": True}, "`version`"),
        ({"caller": []}, "unknown key 'caller'"),
        ({"callers": "spiffe://example.org/x"}, "not a list"),
        ({"callers": {}}, "not a list"),
        ({"callers": None}, "not a list"),
        ({"callers": [7]}, r"`callers\[0\]`"),
        ({"callers": ["spiffe://example.org/a", "billing"]}, r"`callers\[1\]`"),
        ({"callers": ["spiffe://example.org"]}, "no path"),
        ({"callers": ["spiffe://example.org/*"]}, "denials name each workload in full"),
        ({"callers": ["spiffe://Example.org/x"]}, "trust domain"),
        ({"callers": ["spiffe://example.org/a/../b"]}, "path"),
        ({"callers": [" spiffe://example.org/x"]}, "SPIFFE ID"),
        ({"serials": [{"trust_domain": "example.org"}]}, "no key `serial`"),
        ({"serials": [{"trust_domain": "Example.org", "serial": "1"}]}, "no trust domain"),
        ({"serials": [{"trust_domain": "example.org", "serial": "1:2"}]}, "no serial number"),
        ({"serials": [{"trust_domain": "example.org", "serial": ""}]}, "1 to 1024"),
        ({"serials": [{"trust_domain": "example.org", "serial": 12}]}, "1 to 1024"),
        ({"serials": [{"trust_domain": "example.org", "serial": "f" * 41}]}, "no serial number"),
        ({"subjects": [{"type": "user", "id": ""}]}, "1 to 1024"),
        ({"subjects": [{"type": "user", "id": "x" * 1025}]}, "1 to 1024"),
        ({"subjects": [{"type": "user", "id": "x", "why": "y"}]}, "unknown key 'why'"),
        ({"subjects": ["mallory"]}, "not an object"),
        ({"jtis": [{"jti": "7"}]}, "no key `iss`"),
    ],
)
def test_denials_that_could_deny_nobody_are_refused(fields: dict[str, Any], match: str) -> None:
    """A misspelt key or an entry that matches nothing would be a denial that never happens."""
    with pytest.raises(BundleRefusedError, match=match):
        parse_denials(denials(**fields))


@pytest.mark.parametrize("key", ["version", "callers", "serials", "subjects", "jtis"])
def test_denials_without_a_list_are_refused(key: str) -> None:
    """All five keys, also when empty: an absent list may be a lost one."""
    body = json.loads(EMPTY_DENIALS)
    del body[key]
    with pytest.raises(BundleRefusedError, match=f"no key `{key}`"):
        parse_denials(render(body))


@given(st.data())
@settings(max_examples=100)
def test_fuzz_denials(data: st.DataObject) -> None:
    """Whatever the bytes or the JSON: denials, or BundleRefusedError."""
    original = denials(
        callers=["spiffe://example.org/x"], subjects=[{"type": "user", "id": "mallory"}]
    )
    text = data.draw(
        st.just(changed_somewhere(data, original))
        | st.dictionaries(
            st.sampled_from(["version", "callers", "serials", "subjects", "jtis", "x"]), JSON
        ).map(lambda fields: json.dumps({**json.loads(original), **fields}).encode())
    )
    try:
        found = parse_denials(text)
    except BundleRefusedError:
        return
    assert isinstance(found, Denials)


# ---- state file -------------------------------------------------------------


def test_state_round_trip() -> None:
    """What is written is read."""
    assert parse_state(render_state(MEMORY)) == MEMORY


def test_every_flipped_bit_of_a_state_file_is_seen() -> None:
    """Refused, or (white space between tokens) the very same memory."""
    data = render_state(MEMORY)
    refused = 0
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            try:
                assert parse_state(bytes(changed)) == MEMORY
            except StrictJsonError:
                refused += 1
    assert refused > 0.9 * 8 * len(data)


def test_every_flipped_bit_of_a_state_file_twin_without_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the checksum a flipped bit can lower what is remembered."""
    data = render_state(MEMORY)
    lowered = data.replace(b'"snapshot": 3', b'"snapshot": 1')
    with pytest.raises(StrictJsonError, match="checksum"):
        parse_state(lowered)
    checksum = json.loads(data)["sha256"]
    monkeypatch.setattr("pdp.bundle.memory._checksum", lambda _body: checksum)
    assert parse_state(lowered).revision == 1


@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_cut_state_file_is_refused(size: int) -> None:
    """As a crash without fsync would leave it."""
    with pytest.raises(StrictJsonError):
        parse_state(render_state(MEMORY)[:size])


@given(st.data())
@settings(max_examples=100)
def test_fuzz_state_file(data: st.DataObject) -> None:
    """Whatever the bytes: the same memory, or StrictJsonError."""
    text = changed_somewhere(data, render_state(MEMORY))
    try:
        assert parse_state(text) == MEMORY
    except StrictJsonError:
        return


@given(JSON, st.sampled_from(["version", "versions", "targets", "digest", "clock_mark_ns"]))
@settings(max_examples=60)
def test_fuzz_state_fields_with_a_true_checksum(value: Any, key: str) -> None:
    """Any JSON in any field, checksum right: a memory, or StrictJsonError."""
    from pdp.bundle.memory import _checksum

    body = json.loads(render_state(MEMORY))["state"]
    body[key] = value
    try:
        text = render({"state": body, "sha256": _checksum(body)})
        memory = parse_state(text)
    except StrictJsonError:
        return
    assert memory.revision >= 1


def older(**changes: Any) -> bytes:
    """The state file as a PDP wrote it that had one digest of all targets."""
    from pdp.bundle.memory import _checksum

    body = json.loads(render_state(MEMORY))["state"]
    del body["targets"]
    body |= {"version": 1, "digest": "ef" * 32, **changes}
    return render({"state": body, "sha256": _checksum(body)})


def test_state_file_of_an_older_pdp_is_read() -> None:
    """An upgrade forgets neither versions nor the digest, and asks for no new floor."""
    memory = parse_state(older())
    assert memory == replace(MEMORY, targets={}, digest=bytes.fromhex("ef" * 32))
    changes: tuple[dict[str, Any], ...] = (
        {"digest": "ef"},
        {"digest": 7},
        {"version": 3},
        {"targets": {}},
    )
    for wrong in changes:
        with pytest.raises(StrictJsonError):
            parse_state(older(**wrong))


def test_archive_helper_is_deterministic() -> None:
    """The simulator too makes the same bytes twice."""
    assert archive(3, SIGNED_AT_S) == archive(3, SIGNED_AT_S)
