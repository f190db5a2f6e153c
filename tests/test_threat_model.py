"""The threat models are complete, name tests that exist, and are what the page shows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests import threat_models
from tests.threat_models import FLOWS, FOLDER, STRIDE, ModelError


@pytest.mark.parametrize("flow", FLOWS)
def test_every_crossing_answers_every_letter(flow: str) -> None:
    """At each crossing each letter of STRIDE has a threat or a reason, never both or neither."""
    model = threat_models.load(flow)
    assert len(model.crossings) >= 3
    for crossing in model.crossings:
        letters = {threat.letter for threat in crossing.threats}
        assert letters | set(crossing.none) == set(STRIDE), crossing.id
        assert not letters & set(crossing.none), crossing.id


@pytest.mark.parametrize("flow", FLOWS)
def test_every_mitigation_names_tests_that_exist(flow: str) -> None:
    """A mitigation without a test, or with one that was renamed away, fails here."""
    assert threat_models.missing_tests(threat_models.load(flow)) == []


def test_no_acceptance_has_run_out() -> None:
    """An accepted risk is looked at again by its date, or the build stops."""
    today = datetime.now(UTC).date()
    accepted = [
        threat.accepted
        for flow in FLOWS
        for threat in threat_models.load(flow).threats
        if threat.accepted
    ]
    assert accepted
    assert [risk for risk in accepted if date.fromisoformat(risk.until[:10]) < today] == []


def test_plaintext_spool_is_an_accepted_risk_with_an_end() -> None:
    """The one known hole in confidentiality is named, owned and dated."""
    found = [
        threat.accepted
        for threat in threat_models.load("record").threats
        if threat.accepted and "plaintext" in threat.accepted.why
    ]
    assert len(found) == 1


def test_every_reference_is_cited_or_not_here_for_a_reason() -> None:
    """No class of published incidents is forgotten, and none is cited that is not listed."""
    listed = {item.id: item for item in threat_models.load_references()}
    cited = {
        name for flow in FLOWS for t in threat_models.load(flow).threats for name in t.references
    }
    assert cited <= set(listed)
    for name, item in listed.items():
        assert (name in cited) != bool(item.not_here), name


def test_page_is_what_the_files_say() -> None:
    """docs/threat-model/README.md was generated from the models as they are."""
    models = tuple(map(threat_models.load, FLOWS))
    expected = threat_models.render(models, threat_models.load_references())
    assert threat_models.PAGE.read_text() == expected, "run `make threats`"


def test_there_is_no_model_that_nobody_reads() -> None:
    """Every YAML file in the folder is a flow of the page, or the references."""
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*FLOWS, "references"}


Spoil = Callable[[dict[str, Any]], None]


def _without_a_letter(model: dict[str, Any]) -> None:
    del model["crossings"][0]["stride"]["R"]


def _with_an_empty_reason(model: dict[str, Any]) -> None:
    model["crossings"][0]["stride"]["R"] = "  "


def _first_threat(model: dict[str, Any]) -> dict[str, Any]:
    found = next(
        item
        for crossing in model["crossings"]
        for threats in crossing["stride"].values()
        if isinstance(threats, list)
        for item in threats
        if "mitigations" in item
    )
    assert isinstance(found, dict)
    return found


def _without_a_mitigation(model: dict[str, Any]) -> None:
    threat = _first_threat(model)
    threat.pop("mitigations")
    threat.pop("accepted", None)


def _with_a_mitigation_without_tests(model: dict[str, Any]) -> None:
    _first_threat(model)["mitigations"][0]["tests"] = []


def _with_an_endless_acceptance(model: dict[str, Any]) -> None:
    _first_threat(model)["accepted"] = {"why": "w", "owner": "o", "until": "some day"}


def _with_an_unknown_key(model: dict[str, Any]) -> None:
    _first_threat(model)["mitigation"] = "misspelt"


def _with_an_unknown_party(model: dict[str, Any]) -> None:
    model["crossings"][0]["from"] = "nobody"


def _with_a_threat_twice(model: dict[str, Any]) -> None:
    stride = model["crossings"][0]["stride"]
    letter = next(letter for letter, item in stride.items() if isinstance(item, list))
    stride[letter].append(copy.deepcopy(stride[letter][0]))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_without_a_letter, "R .repudiation. has neither"),
        (_with_an_empty_reason, "R .repudiation. has neither"),
        (_without_a_mitigation, "has no mitigation"),
        (_with_a_mitigation_without_tests, "`tests` must be a list that is not empty"),
        (_with_an_endless_acceptance, "must begin with a date"),
        (_with_an_unknown_key, "unknown key `mitigation`"),
        (_with_an_unknown_party, "which is no party"),
        (_with_a_threat_twice, "is used twice"),
    ],
)
def test_incomplete_model_is_refused(spoil: Spoil, complaint: str) -> None:
    """Each thing that a model must say is missed when it is taken away."""
    document = threat_models.read_yaml(FOLDER / "decide.yaml")
    threat_models.parse(copy.deepcopy(document), "decide")
    spoil(document)
    with pytest.raises(ModelError, match=complaint):
        threat_models.parse(document, "decide")


@pytest.mark.parametrize(
    "name",
    [
        "tests/test_threat_model.py::test_that_was_renamed_away",
        "tests/test_of_nothing.py::test_page_is_what_the_files_say",
        # In two parts: a case counts as there when the file has its name.
        "tests/test_threat_model.py::test_incomplete_model_is_refused" + "[no-such" + "-case]",
    ],
)
def test_mitigation_whose_test_does_not_exist_is_found(name: str) -> None:
    """The check above fails on a test id that no file, no function or no case has."""
    document = threat_models.read_yaml(FOLDER / "decide.yaml")
    _first_threat(document)["mitigations"][0]["tests"] = [name]
    missing = threat_models.missing_tests(threat_models.parse(document, "decide"))
    assert [entry.partition(": ")[2] for entry in missing] == [name]
