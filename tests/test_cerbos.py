"""The comparison with Cerbos: both answer the same, and what is replayed is what was checked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from loadtests import cerbos, cerbos_wire
from loadtests.cerbos import NotHereError
from pdp.v1 import authorization_pb2 as pb
from tests.conftest import ROOT, Ledger


@pytest.fixture
def tools() -> tuple[Path, Path]:
    """h2load and Cerbos, or the test is skipped and says what is missing."""
    try:
        return cerbos.needed(os.environ.get("CERBOS"))
    except NotHereError as error:
        pytest.skip(str(error))


def test_both_answer_the_same(tools: tuple[Path, Path], tmp_path: Path) -> None:
    """Two hundred answers of real servers are equal, question by question."""
    ring = cerbos.Ring(tmp_path, tools[1])
    with ring.ours() as ours, ring.theirs(log=True) as theirs:
        assert cerbos.check_same(ours, theirs) > 0


@pytest.mark.prove
def test_both_are_measured(tools: tuple[Path, Path], tmp_path: Path, ledger: Ledger) -> None:
    """How many decisions a second each makes, and how many times as many that is."""
    target = cerbos.compare(*tools, tmp_path, rounds=3, seconds=3)
    ledger(seed="none", ratio=round(target.found, 2), at_least=target.at_least, said=target.detail)
    assert target.found > 0


def test_answers_that_differ_are_not_compared(tmp_path: Path) -> None:
    """One answer that is another, and nothing is measured."""
    message = pb.AuthorizeBatchRequest.FromString(cerbos.our_message())
    answer = pb.AuthorizeBatchResponse()
    for place, item in enumerate(message.items):
        effect = pb.EFFECT_PERMIT if place % 2 else pb.EFFECT_DENY
        answer.items.add(request_id=item.request_id, effect=effect)
    ours = cerbos.Contender(0, 0, "", b"", answer.SerializeToString())
    answer.items[7].effect = pb.EFFECT_DENY
    theirs = {
        (item.request_id.partition("/")[0], item.request_id.partition("/")[2]): bool(
            item.effect == pb.EFFECT_PERMIT
        )
        for item in answer.items
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cerbos_wire, "permits", lambda _: theirs)
        with pytest.raises(SystemExit, match="the answers differ"):
            cerbos.check_same(ours, ours)
        theirs["report-1", "approve"] = True
        assert cerbos.check_same(ours, ours) == cerbos.QUESTIONS // 2


def test_both_are_asked_the_same_questions() -> None:
    """Fifty resources with four actions each, with the same attributes."""
    ours = pb.AuthorizeBatchRequest.FromString(cerbos.our_message())
    assert len(ours.items) == cerbos.QUESTIONS == 200
    theirs = cerbos_wire._MESSAGES["Request"].FromString(cerbos.their_message())
    assert [entry.resource.id for entry in theirs.resources] == [
        item.resource.id for item in ours.items[:: len(cerbos.ACTIONS)]
    ]
    assert {tuple(entry.actions) for entry in theirs.resources} == {cerbos.ACTIONS}
    for entry, item in zip(theirs.resources, ours.items[::4], strict=True):
        named = {attribute.key for attribute in entry.resource.attr}
        assert named == set(item.resource.properties)
    about = {attribute.key for attribute in theirs.principal.attr}
    assert about | {"roles"} == set(ours.items[0].subject.properties)


def test_every_rule_has_its_counterpart() -> None:
    """Rule by rule: none was left out, and none put in."""
    yaml = YAML(typ="safe")
    policy = yaml.load((cerbos.POLICIES / "expense_report.yaml").read_text())
    there = [rule["name"] for rule in policy["resourcePolicy"]["rules"]]
    here = []
    for name in ("approval", "payment", "retention", "submission"):
        document = yaml.load((ROOT / f"policies/expense-reports/{name}.yaml").read_text())
        here += [rule["id"] for rule in document["rules"]]
    assert there == here


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without h2load or Cerbos nothing is measured, and it is said how to get them."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotHereError, match="nghttp2-client"):
        cerbos.needed(None)
    (tmp_path / "h2load").write_text("#!/bin/sh\n")
    (tmp_path / "h2load").chmod(0o755)
    with pytest.raises(NotHereError, match="npm install cerbos"):
        cerbos.needed(str(tmp_path))
