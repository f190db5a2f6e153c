"""docs/tokens.md says what is: its configuration starts, its settings and words are all."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from pdp.config import ConfigurationProblemsError, Settings, load_settings
from pdp.config.document import IssuerSection
from pdp.errors import ConfigurationError
from pdp.identity.token import TokenFault
from pdp.server.checks import check_files
from tests.conftest import ROOT
from tests.simulators.configurations import good_tree, toml_text, write_files
from tests.simulators.repository import Repository
from tests.simulators.token_issuer import AUDIENCE, ISSUER, TokenIssuer, key_set

PAGE = (ROOT / "docs" / "tokens.md").read_text()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("PDP_")]:
        monkeypatch.delenv(name)


def load(folder: Path, tokens: str) -> Settings:
    """A good configuration and these lines."""
    write_files(folder, Repository().trusted_root)
    (folder / "jwks.json").write_bytes(key_set(TokenIssuer().jwk()))
    path = folder / "pdp.toml"
    path.write_text(toml_text(good_tree()) + "\n" + tokens)
    return load_settings(path)


def table(heading: str) -> list[list[str]]:
    """Rows of a table of the page, by its first column's heading."""
    part = PAGE.split(f"| {heading} |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines()[2:]]


def test_the_configuration_that_is_shown_is_read(tmp_path: Path) -> None:
    """As it stands on the page, but for where the file of authorities is."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "ca.pem").write_text("not looked into")
    (issuer,) = load(tmp_path, text.replace("/etc/pdp/login-ca.pem", "ca.pem")).issuers
    assert (issuer.issuer, issuer.audience, issuer.subject_type) == (ISSUER, AUDIENCE, "user")
    assert issuer.ca_bundle == tmp_path / "ca.pem"
    assert issuer.roles_claim == ("realm_access", "roles")
    assert issuer.id_claim == ("sub",)


def test_every_setting_of_an_issuer_is_on_the_page_with_its_default() -> None:
    """In order, and none that does not exist."""
    rows = table("setting")
    assert [name.strip("`") for name, *_ in rows] == list(IssuerSection.model_fields)
    for name, shown, _ in rows:
        field = IssuerSection.model_fields[name.strip("`")]
        if field.is_required():
            assert shown == "required", name
        elif isinstance(field.default, tuple):
            assert tuple(json.loads(shown.strip("`"))) == field.default, name
        else:
            assert shown.strip("`") == str(field.default or "none"), name


def test_every_word_of_the_counter_is_on_the_page() -> None:
    """Why a token is refused, and what it means."""
    words = [word.strip("`") for word, _ in table("word")]
    assert words == [*(fault.value for fault in TokenFault), "no_issuers"]


GOOD = {"issuer": ISSUER, "audience": AUDIENCE, "subject_type": "user", "keys": "jwks.json"}


def lines(**changes: object) -> str:
    """The section of an issuer; None takes a key out."""
    given = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return "[[tokens.issuers]]\n" + "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in given.items()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (lines(issuer=None), "`tokens.issuers[0].issuer` is missing"),
        (lines(audience=None), "`tokens.issuers[0].audience` is missing"),
        (lines(audience=""), "`tokens.issuers[0]`: `audience` must be a text"),
        (lines(subject_type=None), "`tokens.issuers[0].subject_type` is missing"),
        (lines(keys=None), "`tokens.issuers[0].keys` is missing"),
        (lines(keys="nothing.json"), "`tokens.issuers[0].keys`: there is no file"),
        (lines(audiance="x"), "`tokens.issuers[0].audiance` is not a setting: did you mean `aud"),
        (lines(algorithms=["HS256"]), "`tokens.issuers[0]`: `algorithms` has 'HS256'"),
        (lines(verify=False), "`tokens.issuers[0].verify` is not a setting"),
        (lines(lifetime_max_s=True), "`tokens.issuers[0].lifetime_max_s`"),
        (lines(roles_claim=""), "empty name"),
        (lines() + lines(), "is there twice"),
        ("[tokens]\nissuer = 1\n", "`tokens.issuer` is not a setting"),
    ],
)
def test_an_issuer_that_says_too_little_or_something_unknown_refuses_to_start(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Issuer and audience have no default, and a misspelt key is no key."""
    with pytest.raises(ConfigurationProblemsError) as caught:
        load(tmp_path, text)
    assert any(problem in told for told in caught.value.problems), caught.value.problems


def test_issuers_come_from_the_environment_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As JSON, like every list."""
    monkeypatch.setenv("PDP_TOKENS_ISSUERS", json.dumps([GOOD]))
    (issuer,) = load(tmp_path, "").issuers
    assert issuer.keys == str(tmp_path / "jwks.json")


def test_config_check_judges_key_files(tmp_path: Path) -> None:
    """As the start would; the endpoint of another issuer is not asked."""
    settings = load(tmp_path, lines())
    check_files(settings, "pdp.toml")
    (tmp_path / "jwks.json").write_bytes(b"{}")
    with pytest.raises(ConfigurationError, match="no list `keys`"):
        check_files(settings, "pdp.toml")
