"""What machines see of a PDP: bounded, complete, and of nobody."""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from docs.operations import found
from pdp.server.metrics import figures as figures_module
from pdp.server.metrics.exposition import COUNTERS, GAUGES, exposition
from pdp.server.metrics.figures import SERIES_MAX, Figures, counted, from_json, timed, to_json
from pdp.server.metrics.shared import SharedFigures
from pdp.server.metrics.times import BOUNDS_S, Times
from pdp.telemetry import Telemetry
from tests.simulators.configurations import Tree
from tests.test_process import House, Process, house, quick_tree

__all__ = ["house"]


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by name, process and labels by name, as Prometheus's own parser reads them."""
    return {
        (sample.name, *_labels(sample.labels)): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def _labels(labels: Mapping[str, str]) -> list[str]:
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "process", name))]


def shown(telemetry: Telemetry) -> bytes:
    """What a scrape shows of these counters."""
    return exposition([Figures("pdp", counted(telemetry))])


# -- without processes ----------------------------------------------------------------------------


def test_counters_gauges_and_times_are_what_prometheus_reads() -> None:
    """Numbers go through unchanged, bins are cumulative."""
    telemetry = Telemetry(None, lambda: 0)
    for _ in range(3):
        telemetry.count("decisions", "DENY", "STALE")
    times = Times()
    for took_s in (0.0001, 0.003, 0.003, 99.0):
        times.note(took_s)
    one = Figures(
        "worker-1", counted(telemetry), {"serving": 1.0}, timed({"single": times}, "answer")
    )
    read = samples(exposition([one]))
    assert read["pdp_decisions_total", "worker-1", "STALE", "DENY"] == 3
    assert read["pdp_serving", "worker-1"] == 1
    assert read["pdp_answer_seconds_bucket", "worker-1", "single", "0.0005"] == 1
    assert read["pdp_answer_seconds_bucket", "worker-1", "single", "0.005"] == 3
    assert read["pdp_answer_seconds_bucket", "worker-1", "single", "+Inf"] == 4
    assert read["pdp_answer_seconds_count", "worker-1", "single"] == 4


def test_every_counter_of_the_code_has_its_labels_named() -> None:
    """What `Telemetry.count` counts anywhere is in the table of metrics."""
    missing = {
        counter.name
        for counter in found.counters()
        if len(COUNTERS.get(counter.name, ("", ()))[1]) != len(counter.labels)
    }
    assert missing == set()


label = st.one_of(st.text(max_size=40), st.sampled_from(["RULE", "alice@example.org", "a\nb", '"']))


@given(labels=st.lists(label, min_size=SERIES_MAX, max_size=SERIES_MAX + 20, unique=True))
@settings(max_examples=15, deadline=None)
def test_labels_are_words_and_bounded_whatever_is_counted(labels: list[str]) -> None:
    """Were a caller's text ever counted, it is `other`; and there are only so many series."""
    telemetry = Telemetry(None, lambda: 0)
    for each in labels:
        telemetry.count("refused", each)
    text = shown(telemetry)
    lines = [line for line in text.decode().splitlines() if line.startswith("pdp_refused_total{")]
    assert len(lines) <= SERIES_MAX + 1
    assert all(re.fullmatch(r'\w+\{process="pdp",reason="[\w-]+"\} \d+\.0', each) for each in lines)
    assert sum(v for k, v in samples(text).items() if k[0] == "pdp_refused_total") == len(labels)


def test_labels_are_words_twin_without_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the judgement of words, a name would be shown as it came."""
    monkeypatch.setattr(figures_module, "_WORD", re.compile(r"(?s).*"))
    telemetry = Telemetry(None, lambda: 0)
    telemetry.count("refused", "alice@example.org")
    assert b"alice@example.org" in shown(telemetry)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=10), inner)),
    max_leaves=20,
)


@given(
    body=st.fixed_dictionaries({"counters": values, "gauges": values, "times": values}),
    data=st.binary(max_size=100),
)
def test_hostile_figures_of_another_process_are_left_out(body: object, data: bytes) -> None:
    """Whatever is in the folder is figures that can be shown, or nothing."""
    for bad in (data, json.dumps(body).encode()):
        read = from_json("worker-1", bad)
        if read is not None:
            samples(exposition([read]))


def test_figures_go_through_a_file_unchanged(tmp_path: Path) -> None:
    """What one worker writes, another shows; its own file, an old one and a foreign one are not."""
    times = Times()
    times.note(0.2)
    one = Figures("worker-1", {("decisions", "DENY", "RULE"): 2}, {"serving": 1.0})
    two = Figures("worker-2", {}, {}, timed({"single": times}, "answer"))
    shared = SharedFigures(tmp_path)
    shared.clear()
    for each in (one, two):
        shared.write(each)
        assert from_json(each.process, to_json(each)) == each
    (tmp_path / "figures" / "worker-3.json").write_text("{}")
    (tmp_path / "figures" / "evil.json").write_bytes(to_json(one))
    assert shared.others("worker-1") == [two]
    os.utime(tmp_path / "figures" / "worker-2.json", (0, 0))
    assert shared.others("worker-1") == []
    shared.clear()
    assert shared.others("parent") == []
    assert tuple(sorted(BOUNDS_S)) == BOUNDS_S


# -- real processes -------------------------------------------------------------------------------


def with_metrics(listen: str) -> Tree:
    """Quick polls, and a port for Prometheus."""
    tree = quick_tree()
    tree["metrics"] = {"listen": listen}
    return tree


def scrape(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, bytes]:
    """One request on loopback, without TLS."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def port_of(process: Process) -> int:
    """Where it is scraped."""
    events = [each for each in process.events if each["event"] == "metrics_listening"]
    return int(str((events or [process.wait_for("metrics_listening")])[0]["port"]))


def test_a_scrape_shows_what_happened(house: House) -> None:
    """Decisions, times, the snapshot, the spool; and there is nothing else on that port."""
    house.configure(with_metrics("127.0.0.1:0"))
    running = house.start()
    assert running.until(bool)
    port = port_of(running)
    status, text = scrape(port)
    assert status == 200
    read = samples(text)
    assert read["pdp_decisions_total", "pdp", "RULE", "PERMIT"] >= 1
    assert read["pdp_answer_seconds_count", "pdp", "single"] >= 1
    assert read["pdp_spool_records_total", "pdp"] >= 1
    assert read["pdp_serving", "pdp"] == 1
    assert read["pdp_snapshot_revision", "pdp"] == 2
    assert 3_000 < read["pdp_snapshot_fresh_seconds", "pdp"] <= 3_600
    assert {f"pdp_{name}" for name in GAUGES if "changeover" not in name} <= {k[0] for k in read}
    assert scrape(port, "/")[0] == 404
    assert scrape(port, "/metrics?x=1", "POST")[0] == 405
    assert running.stop() == 0


def test_without_the_setting_nothing_listens(house: House) -> None:
    """There is no such port by default, and a taken one stops the start with its name."""
    running = house.start()
    tree = with_metrics(f"127.0.0.1:{running.port}")
    tree["bundle"]["state_folder"] = "state-2"
    tree["record"]["folder"] = "spool-2"
    house.configure(tree)
    second = house.start(listening=False)
    assert "metrics.listen" in second.rest()
    assert second.process.returncode == 2
    assert running.stop() == 0
    assert "metrics_listening" not in running.rest()


def context(house: House, *, shown_certificate: bool) -> ssl.SSLContext:
    """A scraper that believes the authority; with a certificate of the trust domain, or none."""
    made = ssl.create_default_context(cadata=house.authority.bundle_pem.decode())
    made.check_hostname = False
    if shown_certificate:
        house.pep.write(house.folder, "scraper")
        made.load_cert_chain(house.folder / "scraper.pem", house.folder / "scraper.key")
    return made


def test_beyond_loopback_there_is_only_mutual_tls(house: House) -> None:
    """Plain HTTP and a scraper without a certificate get nothing; one of the trust domain does."""
    house.configure(with_metrics("0.0.0.0:0"))
    running = house.start()
    port = port_of(running)
    url = f"https://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, context=context(house, shown_certificate=True)) as answer:
        assert b"pdp_serving" in answer.read()
    with pytest.raises((OSError, urllib.error.URLError)):
        urllib.request.urlopen(url, context=context(house, shown_certificate=False))
    with pytest.raises((OSError, urllib.error.URLError)):
        scrape(port)
    assert running.stop() == 0
