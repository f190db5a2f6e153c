"""Configuration: every problem is told at once, and nothing that is misspelt is in force."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pdp.authoring.throwaway import ThrowawayAuthority
from pdp.boundary import DEPTH_MAX
from pdp.bundle.anchor import Anchor
from pdp.config import ConfigurationProblemsError, Settings, document, load_settings
from pdp.config.document import variables
from pdp.config.settings import TlsSettings, WorkloadApiSettings
from pdp.errors import ConfigurationError
from pdp.server.authzen import pages
from pdp.server.authzen.pages import load_offer, plain_metadata
from pdp.server.checks import check_files
from tests.simulators.certificates import TRUST_DOMAIN
from tests.simulators.configurations import (
    Tree,
    changed,
    good_tree,
    toml_text,
    without,
    write_files,
)
from tests.simulators.repository import Repository


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith("PDP_"):
            monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with every file that a configuration names."""
    write_files(tmp_path)
    return tmp_path


def load(folder: Path, document_: Tree) -> Settings:
    """Write and read."""
    path = folder / "pdp.toml"
    path.write_text(toml_text(document_))
    return load_settings(path)


def problems(folder: Path, document_: Tree) -> tuple[str, ...]:
    """What is told of a configuration that does not start."""
    with pytest.raises(ConfigurationProblemsError) as caught:
        load(folder, document_)
    return caught.value.problems


def test_a_good_file_is_read_with_defaults(folder: Path) -> None:
    """Paths count from the folder of the file; defaults are the strict ones."""
    found = load(folder, good_tree())
    assert isinstance(found.tls, TlsSettings)
    assert found.tls.key == folder / "server.key"
    assert found.bundle.source == str(folder / "repository")
    assert found.record.folder == folder / "spool"
    assert found.limits.input.depth_max == DEPTH_MAX
    assert found.bundle.revision_floor is None
    assert found.bundle.freshness_max_s == 3_600
    assert str(found.listen) == "127.0.0.1:0"
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.instance = "other"  # type: ignore[misc]


SETTINGS = sorted(variables().values())


VALUES: dict[str, tuple[str, object]] = {
    "instance": ("pdp-2", "pdp-2"),
    "listen": ("[::1]:9", "[::1]:9"),
    "log_level": ("debug", "debug"),
    "tls.trust_domain": ("other.example.org", "other.example.org"),
    "bundle.source": ("https://store.example.org/x", "https://store.example.org/x"),
    "bundle.tenants": ('["default", "b"]', ("default", "b")),
    "bundle.default_tenant": ("default", "default"),
    "bundle.caller_tenants": (
        '{"spiffe://example.org/*": "default"}',
        "spiffe://example.org/* is default",
    ),
    "record.capture": ("full", "full"),
    "bundle.revision_floor": ("3", 3),
    "bundle.freshness_max_s": ("120", 120),
    "limits.depth_max": ("3", 3),
    "limits.message_bytes_max": ("1000", 1000),
    "limits.connection_age_max_s": ("5", 5.0),
    "record.segment_bytes_max": ("131072", 131_072),
}
AUTHZEN = {"listen": "127.0.0.1:0", "base_url": "https://pdp.example.org"}


def in_force(found: Settings, setting: str) -> object:
    """A setting as `pdp config check` shows it."""
    from pdp.cli.config import _rows

    return dict(_rows(found))[setting]


@pytest.mark.parametrize("setting", VALUES)
def test_the_environment_wins(setting: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting also comes from PDP_SECTION_KEY, and that is what is in force."""
    text, value = VALUES[setting]
    variable = next(name for name, path in variables().items() if path == setting)
    assert variable == "PDP_" + setting.replace(".", "_").upper()
    monkeypatch.setenv(variable, text)
    shown = ", ".join(value) if isinstance(value, tuple) else str(value)
    assert in_force(load(folder, good_tree()), setting) == shown


def test_every_setting_can_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file and only variables: the whole configuration of a container."""
    plain = load(folder, good_tree())
    for variable, setting in sorted(variables().items()):
        section, _, key = setting.rpartition(".")
        value = good_tree().get(section, {}).get(key) if section else good_tree().get(setting)
        if value is not None:
            monkeypatch.setenv(variable, str(value))
    assert load(folder, {}) == plain


def test_config_check_shows_every_setting(folder: Path) -> None:
    """Nothing is in force that `pdp config check` does not show."""
    from pdp.cli.config import _rows

    assert sorted(name for name, _ in _rows(load(folder, good_tree()))) == SETTINGS


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PDP_LISTN", "PDP_LISTEN"),
        ("PDP_TLS_KEE", "PDP_TLS_KEY"),
        ("PDP_TLS", ""),
        ("pdp_listen", ""),
        ("PDP_BUNDLE__SOURCE", "PDP_BUNDLE_SOURCE"),
        ("PDP_INSECURE", ""),
        ("PDP_", ""),
    ],
)
def test_unknown_variables_refuse_to_start(
    name: str, hint: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt variable is a setting that somebody believes to be in force."""
    monkeypatch.setenv(name, "x")
    found = problems(folder, good_tree())
    assert any(f"`{name}`" in problem and hint in problem for problem in found)


def test_unknown_variables_twin_without_guard(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pydantic-settings alone passes over variables that it does not know."""
    monkeypatch.setenv("PDP_LISTN", "x")
    assert document.Document(**good_tree()).listen == "127.0.0.1:0"


@pytest.mark.parametrize(
    "name", ["lissten", "tls.kee", "tls.insecure", "limits.fail_open", "bundle.skip", "debug"]
)
def test_unknown_keys_refuse_to_start(name: str, folder: Path) -> None:
    """As for variables; a similar name is suggested."""
    found = problems(folder, changed(name, "x"))
    assert len(found) == 1
    assert f"`{name}` is not a setting" in found[0]


@pytest.mark.parametrize(
    "name",
    ["tls", "tls.certificate", "tls.key", "tls.trust_bundle", "tls.trust_domain", "bundle.root"],
)
def test_half_configured_tls_and_trust_refuse_to_start(name: str, folder: Path) -> None:
    """There is no server without TLS, and none that trusts nobody or everybody."""
    (found,) = problems(folder, without(name))
    assert f"{name}" in found
    assert "missing" in found


AGENT: Tree = {"trust_domain": TRUST_DOMAIN, "workload_api": "unix:/run/agent.sock"}


def test_an_agent_stands_for_all_files(folder: Path) -> None:
    """Its socket is all that is needed; who else is believed is named."""
    found = load(folder, changed("tls", AGENT))
    assert found.tls == WorkloadApiSettings(TRUST_DOMAIN, "unix:/run/agent.sock")
    wanted = f"spiffe://{TRUST_DOMAIN}/pdp"
    tree = AGENT | {"spiffe_id": wanted, "federates_with": ["partner.example.org"]}
    found = load(folder, changed("tls", tree))
    assert found.tls == WorkloadApiSettings(
        TRUST_DOMAIN, "unix:/run/agent.sock", wanted, ("partner.example.org",)
    )
    assert in_force(found, "tls.federates_with") == "partner.example.org"
    assert in_force(found, "tls.key") == "not set"


def test_partners_have_files_of_their_own(folder: Path) -> None:
    """By trust domain, from the folder of the file."""
    tree = changed("tls.federation", {"partner.example.org": "trust.pem"})
    found = load(folder, tree).tls
    assert isinstance(found, TlsSettings)
    assert found.federation == (("partner.example.org", folder / "trust.pem"),)
    assert "partner.example.org: " in str(in_force(load(folder, tree), "tls.federation"))


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (AGENT | {"key": "server.key"}, "both set"),
        (AGENT | {"federation": {"partner.example.org": "trust.pem"}}, "both set"),
        (AGENT | {"trust_domain": "Example.org"}, "trust domain"),
        (AGENT | {"workload_api": "/run/agent.sock"}, "unix:"),
        (AGENT | {"workload_api": "unix:run/agent.sock"}, "unix:"),
        (AGENT | {"workload_api": "tcp://127.0.0.1:8080"}, "unix:"),
        (AGENT | {"workload_api": ""}, "unix:"),
        (AGENT | {"workload_api": "unix:/run/a\u001b[2J"}, "unix:"),
        (AGENT | {"spiffe_id": "spiffe://other.example.org/pdp"}, "not of `tls.trust_domain`"),
        (AGENT | {"spiffe_id": "pdp"}, "spiffe_id"),
        (AGENT | {"federates_with": [TRUST_DOMAIN]}, "our own trust domain"),
        (AGENT | {"federates_with": ["a.org", "a.org"]}, "twice"),
        (AGENT | {"federates_with": ["A.org"]}, "trust domain"),
        (AGENT | {"workload_apii": "x"}, "not a setting"),
    ],
)
def test_half_an_agent_refuses_to_start(tls: Tree, words: str, folder: Path) -> None:
    """Files beside it, another place than its socket, identities that cannot be its own."""
    assert words in " ".join(problems(folder, changed("tls", tls)))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("tls.spiffe_id", f"spiffe://{TRUST_DOMAIN}/pdp", "is for `tls.workload_api`"),
        ("tls.federates_with", ["a.org"], "is for `tls.workload_api`"),
        ("tls.federation", {TRUST_DOMAIN: "trust.pem"}, "our own trust domain"),
        ("tls.federation", {"A.org": "trust.pem"}, "trust domain"),
        ("tls.federation", {"a.org": "nothing.pem"}, "there is no file"),
    ],
)
def test_half_a_federation_refuses_to_start(
    name: str, value: Any, words: str, folder: Path
) -> None:
    """What is an agent's without one, and partners that are none."""
    (found,) = problems(folder, changed(name, value))
    assert words in found


BAD: list[tuple[str, Any, str]] = [
    ("instance", "a b", "instance"),
    ("instance", "", "instance"),
    ("listen", "8443", "address:port"),
    ("listen", "localhost:http", "address:port"),
    ("listen", ":8443", "address:port"),
    ("listen", "127.0.0.1:65536", "65535"),
    ("log_level", "loud", "log_level"),
    ("tls.trust_domain", "Example.org", "trust domain"),
    ("tls.certificate", "nothing.pem", "there is no file"),
    ("tls.key", ".", "cannot be read"),
    ("tls.trust_bundle", "empty", "is empty"),
    ("bundle.source", "", "bundle"),
    ("bundle.source", "ftp://x/y", "scheme"),
    ("bundle.source", "https://user:word@x/y", "user"),
    ("bundle.tenants", [], "at least one"),
    ("bundle.tenants", ["a", "a"], "each once"),
    ("bundle.tenants", [f"t-{i}" for i in range(65)], "at most 64"),
    ("bundle.default_tenant", "acme", "none of `tenants`: `default`"),
    ("bundle.caller_tenants", {"spiffe://example.org/web": "acme"}, "none of `tenants`"),
    ("bundle.caller_tenants", {"example.org/web": "default"}, "is a SPIFFE ID"),
    ("bundle.caller_tenants", ["default"], "caller_tenants"),
    ("bundle.revision_floor", 0, "revision_floor"),
    ("bundle.revision_floor", True, "must be a number"),
    ("bundle.freshness_max_s", 10**9, "freshness_max_s"),
    ("bundle.freshness_max_s", 0, "freshness_max_s"),
    ("bundle.poll_interval_s", 0, "poll_interval_s"),
    ("bundle.poll_interval_s", float("inf"), "poll_interval_s"),
    ("bundle.poll_interval_s", float("nan"), "poll_interval_s"),
    ("record.folder", "no/such", "make it"),
    ("record.folder", "root.json", "not a folder"),
    ("record.capture", "nothing", "capture"),
    ("record.segment_bytes_max", 2**40, "segment_bytes_max"),
    ("limits.depth_max", DEPTH_MAX + 1, "depth_max"),
    ("limits.values_max", 0, "values_max"),
    ("limits.message_bytes_max", 2**40, "message_bytes_max"),
    ("limits.answer_reserve_s", 0.9999, "answer_reserve_s"),
    ("limits.answer_reserve_s", -1, "answer_reserve_s"),
    ("limits.deadline_default_s", 6, "deadline_default_s"),
    ("limits.deadline_max_s", 10**9, "deadline_max_s"),
    ("limits.connection_age_max_s", 10**9, "connection_age_max_s"),
]


@pytest.mark.parametrize(("name", "value", "says"), BAD)
def test_bad_values_refuse_to_start(name: str, value: Any, says: str, folder: Path) -> None:
    """Each is told with the name of the setting and what to write instead."""
    (folder / "empty").touch()
    document_ = changed(name, value)
    if name == "limits.answer_reserve_s" and value == 0.9999:
        document_["limits"]["deadline_default_s"] = 0.5
    found = problems(folder, document_)
    assert any(says in problem for problem in found), found


def test_all_problems_are_told_at_once(folder: Path) -> None:
    """Nobody has to start ten times to find ten mistakes."""
    document_ = good_tree()
    document_["listen"] = "x"
    document_["tls"]["key"] = "nothing"
    document_["bundle"]["tenants"] = []
    document_["record"]["folder"] = "no/such"
    assert len(problems(folder, document_)) == 4


def test_the_file_itself_may_be_wrong(tmp_path: Path) -> None:
    """Missing, a folder, not TOML, not text, far too large: one line each."""
    path = tmp_path / "pdp.toml"
    with pytest.raises(ConfigurationError, match="there is no file"):
        load_settings(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path)
    for data, says in (
        (b"a = = 1", "line 1"),
        (b"\xff", "not TOML"),
        (b"a = 1\na = 2\n", "not TOML"),
        (b"#" * 2_000_000, "too large"),
    ):
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match=says):
            load_settings(path)


def test_a_list_in_a_variable_is_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is told, with an example."""
    monkeypatch.setenv("PDP_BUNDLE_TENANTS", "a,b")
    assert "JSON" in problems(folder, good_tree())[0]


JSON_LIKE: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(name=st.sampled_from(SETTINGS), value=JSON_LIKE)
@example(name="tls.key", value="\0")
@example(name="record.folder", value="\0")
@settings(max_examples=150, deadline=None)
def test_configuration_fuzz(
    name: str, value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any value for any setting is settings within their bounds, or a ConfigurationError."""
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    if not folder.is_dir():
        folder.mkdir()
        for file in ("server.pem", "server.key", "trust.pem", "root.json"):
            (folder / file).write_text("x")
    try:
        found = load(folder, changed(name, value))
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 both ends are asserted
    else:
        # Whatever was set, nothing is wider than what it protects.
        assert found.bundle.freshness_max_s <= 86_400
        assert found.limits.input.depth_max <= DEPTH_MAX
        assert 0 < found.limits.answer_reserve_s < found.limits.deadline_max_s <= 60
        assert found.limits.connection_age_max_s <= 3_600


def test_no_setting_sounds_like_a_way_out() -> None:
    """No setting moves the clock, skips a check or permits on failure, by name at least."""
    words = ("insecure", "skip", "disable", "allow", "open", "clock", "trust_all", "permit", "now")
    assert [name for name in SETTINGS if any(word in name for word in words)] == []


# -- files that are named, and the commands -------------------------------------------------------


def test_the_development_trust_domain_is_refused(folder: Path) -> None:
    """`dev.invalid` is signed by keys that anybody may have."""
    authority = ThrowawayAuthority("dev.invalid")
    authority.issue("pdp", dns_names=["localhost"]).write(folder, "server")
    (folder / "trust.pem").write_bytes(authority.bundle_pem)
    found = load(folder, changed("tls.trust_domain", "dev.invalid"))
    with pytest.raises(ConfigurationError, match=r"dev\.invalid"):
        Anchor.PRODUCTION.check_place(found.tls.trust_domain, found.listen.host)


def test_check_files_tells_everything_at_once(folder: Path) -> None:
    """A key that is not the certificate's, a root that is none, a port that is taken."""
    ThrowawayAuthority(TRUST_DOMAIN).issue("other").write(folder, "other")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        document_ = changed("tls.key", "other.key")
        document_["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        found = load(folder, document_)
        with pytest.raises(ConfigurationProblemsError) as caught:
            check_files(found, "pdp.toml")
    words = ["is not the key of", "trusted root", "cannot listen"]
    assert [word for word in words if any(word in told for told in caught.value.problems)] == words


PROGRAM = """
import sys, typer
from pdp.cli import config, serve
from pdp.cli.terminal import report
app = typer.Typer(pretty_exceptions_enable=False)
config.register(app)
serve.register(app)
try:
    app()
except Exception as error:
    sys.exit(report(error))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`pdp`, with the two commands under test."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_config_check_exits_2_with_the_problems_and_serve_too(folder: Path) -> None:
    """A newcomer sees what to do; no traceback, nothing started."""
    path = folder / "pdp.toml"
    path.write_text(toml_text(changed("tls.kee", "x")))
    for command in (("config", "check"), ("serve",)):
        done = run(*command, "--config", str(path))
        assert done.returncode == 2, done.stderr
        assert "did you mean `tls.key`" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert not (folder / "spool").exists()


def test_config_check_shows_what_is_in_force_and_no_secret(folder: Path) -> None:
    """Values with defaults, as text and JSON; never what is inside a key."""
    (folder / "root.json").write_bytes(Repository().trusted_root)
    path = folder / "pdp.toml"
    path.write_text(toml_text(good_tree()))
    done = run("config", "check", "--config", str(path))
    assert done.returncode == 0, done.stderr
    assert "limits.depth_max" in done.stdout
    as_json = run("config", "check", "--config", str(path), "--json")
    shown = json.loads(as_json.stdout)["settings"]
    assert shown["tls.key"] == str(folder / "server.key")
    for line in (folder / "server.key").read_text().splitlines():
        assert line not in done.stdout + as_json.stdout


# -- the door for HTTP ----------------------------------------------------------------------------


def test_there_is_no_door_for_http_unless_it_is_configured(folder: Path) -> None:
    """Nothing said, nothing opened; both settings, and it is there."""
    assert load(folder, good_tree()).authzen is None
    found = load(folder, changed("authzen", AUTHZEN)).authzen
    assert found is not None
    assert (str(found.listen), found.base_url) == ("127.0.0.1:0", "https://pdp.example.org")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base_url": None}, "`authzen.base_url` is missing"),
        ({"listen": None}, "`authzen.listen` is missing"),
        ({"listen": "8444"}, "`authzen.listen` is '8444'"),
        ({"capabilities": ["obligations"]}, "is not a URN"),
        ({"signed_metadata": "nothing.jwt"}, "there is no file"),
        *(
            ({"base_url": text}, "`authzen.base_url` is")
            for text in (
                "http://pdp.example.org",
                "https://pdp.example.org/",
                "https://pdp.example.org/a/",
                "https://pdp.example.org?x=1",
                "https://pdp.example.org#x",
                "https://user@pdp.example.org",
                "https://PDP.example.org",
                "https://pdp.example.org/../a",
                "https://pdp.example.org/a b",
                "https://pdp.example.org\n",
                "pdp.example.org",
                "https://",
            )
        ),
    ],
)
def test_half_a_door_for_http_refuses_to_start(
    folder: Path, change: dict[str, Any], says: str
) -> None:
    """What clients compare and put paths behind is plain, and nothing is left to guess."""
    wanted = {key: value for key, value in {**AUTHZEN, **change}.items() if value is not None}
    (found,) = problems(folder, changed("authzen", wanted))
    assert says in found


def part(value: object) -> str:
    """One part of a JWT."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


CLAIMS = {"iss": "https://pdp.example.org", "policy_decision_point": "https://pdp.example.org"}
WHOLE = {
    **CLAIMS,
    "access_evaluation_endpoint": "https://pdp.example.org/access/v1/evaluation",
    "access_evaluations_endpoint": "https://pdp.example.org/access/v1/evaluations",
    "capabilities": ["urn:openid:authzen:capability:obligations"],
    "iat": 1_790_000_000,
}
JWT = f"{part({'alg': 'ES256'})}.{part(WHOLE)}.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not a token", "is not a signed JWT"),
        ("a.b", "is not a signed JWT"),
        (f"{part({'alg': 'ES256'})}.{part(CLAIMS)}.", "is not a signed JWT"),
        (f"{part([])}.{part(CLAIMS)}.c2ln", "is not a signed JWT"),
        (f"{part({'alg': 'none'})}.{part(CLAIMS)}.c2ln", "is not signed"),
        (f"{part({})}.{part(CLAIMS)}.c2ln", "is not signed"),
        (f"{part({'alg': 'ES256'})}.{part({**CLAIMS, 'iss': 7})}.c2ln", "it has no `iss`"),
        (
            f"{part({'alg': 'ES256'})}.{part({**CLAIMS, 'signed_metadata': 'x'})}.c2ln",
            "must not hold `signed_metadata`",
        ),
        (
            f"{part({'alg': 'ES256'})}.{part({**CLAIMS, 'policy_decision_point': 'x'})}.c2ln",
            "is about another PDP",
        ),
        ("x" * 70_000, "is longer than"),
        ("\xff", "is not a signed JWT"),
    ],
)
def test_signed_metadata_that_nobody_could_use_refuses_to_start(
    folder: Path, text: str, says: str
) -> None:
    """What can be seen without the key is right, or `pdp config check` says what is not."""
    (folder / "meta.jwt").write_text(text)
    settings_ = load(folder, changed("authzen", {**AUTHZEN, "signed_metadata": "meta.jwt"}))
    with pytest.raises(ConfigurationProblemsError) as caught:
        check_files(settings_, "pdp.toml")
    assert any(says in problem for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": None}, "capabilities"),
        ({"access_evaluations_endpoint": None}, "access_evaluations_endpoint"),
        ({"access_evaluation_endpoint": "https://evil.example.org/"}, "access_evaluation_endpoint"),
        ({"search_subject_endpoint": "https://pdp.example.org/s"}, "search_subject_endpoint"),
        ({"access_request_endpoint": "https://pdp.example.org/r"}, "access_request_endpoint"),
    ],
)
def test_signed_metadata_that_says_something_else_refuses_to_start(
    folder: Path, change: dict[str, object], names: str
) -> None:
    """Its values would win: what is offered, and what is not, is the same in both."""
    claims = {key: value for key, value in {**WHOLE, **change}.items() if value is not None}
    (folder / "meta.jwt").write_text(f"{part({'alg': 'ES256'})}.{part(claims)}.c2ln")
    wanted = {**AUTHZEN, "signed_metadata": "meta.jwt", "capabilities": WHOLE["capabilities"]}
    settings_ = load(folder, changed("authzen", wanted))
    with pytest.raises(ConfigurationProblemsError, match=f"something else about `{names}`"):
        check_files(settings_, "pdp.toml")


def test_signed_metadata_twin_without_guard(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not compared sends clients wherever it says."""
    monkeypatch.setattr(pages, "read_signed", lambda path, plain: path.read_text())
    claims = {**WHOLE, "access_evaluation_endpoint": "https://evil.example.org/"}
    (folder / "meta.jwt").write_text(f"{part({'alg': 'ES256'})}.{part(claims)}.c2ln")
    wanted = {**AUTHZEN, "signed_metadata": "meta.jwt"}
    authzen = load(folder, changed("authzen", wanted)).authzen
    assert authzen is not None
    assert b'"signed_metadata"' in load_offer(authzen).pages["/.well-known/authzen-configuration"]


def test_signed_metadata_is_served_as_it_is(folder: Path) -> None:
    """The file's JWT, to the letter, and the capabilities that the operator names."""
    (folder / "meta.jwt").write_text(f"{JWT}\n")
    capability = "urn:openid:authzen:capability:obligations"
    wanted = {**AUTHZEN, "signed_metadata": "meta.jwt", "capabilities": [capability]}
    authzen = load(folder, changed("authzen", wanted)).authzen
    assert authzen is not None
    found = json.loads(load_offer(authzen).pages["/.well-known/authzen-configuration"])
    assert found["signed_metadata"] == JWT
    assert found["capabilities"] == [capability]
    plain = load(folder, changed("authzen", AUTHZEN)).authzen
    assert plain is not None
    assert not {"signed_metadata", "capabilities"} & set(plain_metadata(plain, search=False))


# -- searches -------------------------------------------------------------------------------------

SEARCH = {"directory": "directory.json"}


@pytest.fixture
def listed(folder: Path) -> Path:
    """A folder with a directory in it."""
    (folder / "directory.json").write_text('{"version": 1}')
    (folder / "token.key").write_bytes(bytes(32))
    return folder


def searching(folder: Path, **search: object) -> Settings:
    """Settings with the door and searches."""
    tree = changed("authzen", AUTHZEN)
    tree["search"] = {**SEARCH, **search}
    return load(folder, tree)


def test_searches_are_there_where_a_directory_is_named(listed: Path) -> None:
    """With their limits; without one there are none."""
    found = searching(listed, page_items_max=60, token_key="token.key", token_life_s=30).search
    assert found is not None
    assert found.directory.path == listed / "directory.json"
    assert (found.limits.page_items_max, found.limits.token_life_s) == (60, 30)
    assert found.token_key == listed / "token.key"
    assert load(listed, changed("authzen", AUTHZEN)).search is None


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"directory": None}, "`search.directory` is missing"),
        ({"directory": "none.json"}, "there is no file"),
        ({"directory": "sqlite:none.db"}, "there is no file"),
        ({"directory": "directory.yaml"}, "none that is known"),
        ({"directory": "postgresql://a:hunter2@127.0.0.1/d"}, "has a password in it"),
        ({"ca_bundle": "token.key"}, "for a PostgreSQL only"),
        ({"token_key": "none.key"}, "there is no file"),
        ({"page_items_default": 201}, "is above `search.page_items_max`"),
        ({"directory_time_max_s": 1.0}, "is not below `limits.deadline_default_s`"),
        ({"page_item_max": 7}, "is not a setting"),
    ],
)
def test_half_a_search_refuses_to_start(listed: Path, search: dict[str, object], says: str) -> None:
    """With what to write, and no password."""
    given = {key: value for key, value in {**SEARCH, **search}.items() if value is not None}
    tree = changed("authzen", AUTHZEN)
    tree["search"] = given or {"page_items_max": 9}
    with pytest.raises(ConfigurationProblemsError) as caught:
        load(listed, tree)
    assert any(says in problem for problem in caught.value.problems), caught.value.problems
    assert "hunter2" not in str(caught.value)


def test_searches_need_the_door_and_a_key_of_all_workers(listed: Path) -> None:
    """They are answered over HTTP alone; and a page token comes back to any worker."""
    tree = changed("search", SEARCH)
    with pytest.raises(ConfigurationProblemsError, match="over HTTP only"):
        load(listed, tree)
    tree = changed("authzen", AUTHZEN)
    tree |= {"search": SEARCH, "workers": 2}
    with pytest.raises(ConfigurationProblemsError, match=r"`search\.token_key` is missing"):
        load(listed, tree)


def test_what_a_search_needs_is_looked_at_by_config_check(listed: Path) -> None:
    """A directory that cannot be used, and a key that could be guessed."""
    (listed / "directory.json").write_text("{}")
    with pytest.raises(ConfigurationProblemsError) as caught:
        check_files(searching(listed), "pdp.toml")
    assert any("has no `version`" in problem for problem in caught.value.problems)
    (listed / "token.key").write_bytes(b"short")
    with pytest.raises(ConfigurationProblemsError) as caught:
        check_files(searching(listed, token_key="token.key"), "pdp.toml")
    assert any("less than 32 bytes" in problem for problem in caught.value.problems)
