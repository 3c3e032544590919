"""What Prometheus reads: parsed by its own parser, of made-up searches, of hostile names and of a running chief."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cluster import losses
from cluster.chief import Chief, Description, Host
from cluster.follow import read
from cluster.metrics import CONTENT_TYPE, STATES, Metrics
from cluster.policy import Policy
from cluster.program import Identity
from cluster.record import Attempt, Record
from cluster.rpc.client import ChiefClient, RemoteSession
from cluster.rpc.server import serve
from cluster.rpc.timing import NAMES
from cluster.search import Grant
from cluster.watched import Watched
from tests.access import CALLER, guard
from tests.cluster.conftest import make_oracle, open_search
from tests.made_up import BEGAN, MadeUp, write

GRAFANA = Path(__file__).parents[2] / "docs" / "grafana"
PROGRAM = Identity("tune.py", (), "abc")
DESCRIPTION = Description("T", "O", "score (min)", 3, "results/x", ())


def families(metrics: Metrics) -> dict[str, Metric]:
    return {x.name: x for x in text_string_to_metric_families(metrics.text().decode())}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """The one sample of this name that has these labels."""
    found = [
        sample.value
        for family in families(metrics).values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def made_up(directory: Path, **how: Any) -> Metrics:
    record = read(write(directory, MadeUp(**how)))
    return Metrics(lambda: [record], clock=lambda: BEGAN + 60)


def test_a_search_in_numbers(tmp_path: Path) -> None:
    record = read(write(tmp_path / "digits", MadeUp(max_trials=20, running=2, over=False)))
    metrics = Metrics(lambda: [record], clock=lambda: BEGAN + 60)
    for status, count in {"completed": 9, "running": 2, "failed": 1, "waiting": 0, "other": 0}.items():
        assert value(metrics, "cluster_trials", search="digits", status=status) == count
    assert value(metrics, "cluster_attempts_total") == 14
    assert value(metrics, "cluster_retries_total") == 2
    assert value(metrics, "cluster_attempts_lost_total", reason="killed") == 2
    assert value(metrics, "cluster_attempts_lost_total", reason="drained") == 0
    assert value(metrics, "cluster_max_trials") == 20
    assert record.best is not None
    assert value(metrics, "cluster_best_objective", objective="val_accuracy") == record.best.score
    assert value(metrics, "cluster_workers") == 3
    assert value(metrics, "cluster_epochs_total") == 10 * 4 + 2 * 2
    assert value(metrics, "cluster_last_event_timestamp_seconds") == record.last_event
    assert value(metrics, "cluster_search_begin_timestamp_seconds") == BEGAN
    assert value(metrics, "cluster_search_remaining_seconds") > 0
    assert value(metrics, "cluster_search_info", oracle="BayesianOptimizationOracle", direction="max") == 1
    assert [value(metrics, "cluster_search_state", state=x) for x in STATES] == [1, 0, 0, 0, 0]
    seconds = [x.seconds for trial in record.trials.values() for x in trial.attempts if x.seconds is not None]
    assert value(metrics, "cluster_trial_seconds_count") == len(seconds) == 10
    assert value(metrics, "cluster_trial_seconds_sum") == pytest.approx(sum(seconds))
    assert value(metrics, "cluster_trial_seconds_bucket", le="20.0") == 10
    assert value(metrics, "cluster_trial_seconds_bucket", le="5.0") == 0
    assert value(metrics, "cluster_suggest_seconds_count") == 14
    assert value(metrics, "cluster_suggest_seconds_bucket", le="0.01") == 14
    in_use = [x for x in families(metrics)["cluster_slots_in_use"].samples if x.value]
    assert sum(x.value for x in in_use) == 2


def test_after_the_end_nothing_is_in_use(tmp_path: Path) -> None:
    metrics = made_up(tmp_path / "digits")
    devices = families(metrics)["cluster_slots_in_use"].samples
    assert len(devices) == 3
    assert not any(x.value for x in devices)
    assert value(metrics, "cluster_workers") == 0
    assert value(metrics, "cluster_search_state", state="ended") == 1


def test_names_and_units_are_as_prometheus_wants_them(tmp_path: Path) -> None:
    metrics = made_up(tmp_path)
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
    for name, family in families(metrics).items():
        assert name.startswith("cluster_")
        assert family.documentation.endswith(".")
        assert re.fullmatch(r"[a-z_]+", name)
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name == f"{name}_total"


def test_several_searches_and_none(tmp_path: Path) -> None:
    records = [read(write(tmp_path / place)) for place in ("a/digits", "b/digits", "c/other")]
    metrics = Metrics(lambda: records)
    searches = {x.labels["search"] for x in families(metrics)["cluster_max_trials"].samples}
    assert searches == {"a/digits", "b/digits", "other"}
    assert families(Metrics(list))["cluster_trials"].samples == []


@pytest.mark.parametrize("name", ['a"b', "a\nb", "a{b}", "a\\b", "a\\nb", "ü ☃", "# HELP x", "a,b=c", ""])
def test_names_that_nobody_chose_well(name: str, tmp_path: Path) -> None:
    record = Record(str(tmp_path), name or "x", oracle=name, objective=name)
    record.apply({"event": "grant", "time": 1.0, "trial": "0", "attempt": 1, "worker": name, "device": name or None})
    record.apply({"event": "search_begin", "time": 1.0, "objective": name, "role": name, "oracle": name})
    record.keep("0", {"status": "COMPLETED", "score": 1.0})
    metrics = Metrics(lambda: [record])
    assert value(metrics, "cluster_trials", search=name or "x", status="completed") == 1
    assert value(metrics, "cluster_search_info", oracle=name) == 1
    assert value(metrics, "cluster_slots_in_use", device=name or "unknown") == 0


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("the trainer of w was killed by SIGKILL; its last lines:\nout of memory", "killed"),
        ("the trainer of w was killed by the kernel: out of memory", "out_of_memory"),
        ("the trainer of w ended with exit code 1", "exited"),
        ("w is gone (its connection closed)", "gone"),
        ("w was not heard of in time", "silent"),
        (Policy(trial_timeout=1).overdue(2, 0), "timed_out"),
        (Policy(stall_seconds=1).overdue(2, 2), "timed_out"),
        ("w was told to leave", "drained"),
        ("its host on Ray was told to leave", "drained"),
        ("the chief was stopped", "drained"),
        ("its process on Ray was lost", "gone"),
        ("anything that anybody may write", "other"),
    ],
)
def test_losses_are_of_few_classes(reason: str, expected: str) -> None:
    lost = Attempt(1, "w", None, 0.0, outcome="lost", reason=reason)
    assert losses.class_of(lost) == expected
    assert expected in losses.NAMES
    lost.out_of_memory = True
    assert losses.class_of(lost) == "out_of_memory"


def test_a_chief_that_runs(tmp_path: Path, owned: None) -> None:
    """Calls of a real client are timed; what has no name of ours is not."""
    chief = Chief(PROGRAM)
    with open_search(tmp_path, oracle=make_oracle(trials=3)) as search:
        search.begin(role="chief", oracle="RandomSearchOracle")
        chief.begin(search, DESCRIPTION)
        watched = Watched(search.directory, seconds=0.0)
        metrics = Metrics(lambda: [watched.look().record], chief)
        address = f"unix:{tmp_path}/chief.sock"
        server = serve(chief, Policy(), address, guard(), metrics.answered)
        client = ChiefClient(address, CALLER, patience=5.0)
        chief.join("w", "s", Host("box"), PROGRAM, waiting=True)
        try:
            session = RemoteSession(client, 0, "w", "t")
            grant = session.next_trial(5.0)
            assert isinstance(grant, Grant)
            session.report_epoch(grant.trial.trial_id, grant.attempt, 0, {"score": 1.0})
            with pytest.raises(KeyError):
                session.trial("no such trial")
            assert value(metrics, "cluster_rpc_seconds_count", method="NextTrial") == 1
            assert value(metrics, "cluster_rpc_seconds_count", method="ReportEpoch") == 1
            assert value(metrics, "cluster_rpc_failures_total", method="GetTrial") == 1
            assert value(metrics, "cluster_workers_waiting") == 1
            assert value(metrics, "cluster_trials", status="running") == 1
            assert value(metrics, "cluster_epochs_total") == 1
            assert value(metrics, "cluster_suggest_seconds_count") == 1
            methods = {x.labels["method"] for x in families(metrics)["cluster_rpc_seconds"].samples}
            assert methods <= set(NAMES.values())
        finally:
            client.close()
            server.stop(0).wait()


def test_many_trials_are_read_in_a_moment(tmp_path: Path) -> None:
    metrics = made_up(tmp_path, trials=2000, max_trials=2000, epochs=2)
    assert value(metrics, "cluster_attempts_total") == 2002
    assert len(metrics.text()) < 20_000


def dashboard() -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((GRAFANA / "dashboard.json").read_text())
    return found


def panels() -> list[Any]:
    return [x for x in dashboard()["panels"] if x["type"] != "row"]


def test_grafana_asks_for_what_there_is(tmp_path: Path) -> None:
    chief = Chief(PROGRAM)
    record = read(write(tmp_path, MadeUp(running=1, over=False)))
    metrics = Metrics(lambda: [record], chief)
    metrics.answered("NextTrial", 0.1, True)
    there = {sample.name for family in families(metrics).values() for sample in family.samples}
    asked = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in re.findall(r"\bcluster_\w+", target["expr"])
    }
    assert asked - there == set()
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there if not name.endswith("_created")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert plain - shown == set()


def test_the_dashboard_is_whole() -> None:
    facts = dashboard()
    assert facts["uid"] == "keras-tuning-cluster"
    assert facts["title"]
    assert facts["schemaVersion"] >= 39
    assert facts["id"] is None
    source, search = facts["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert search["query"]["query"] == "label_values(cluster_trials, search)"
    ids = [x["id"] for x in facts["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"]
        for target in panel["targets"]:
            assert target["refId"]
            assert "$search" in target["expr"] or "cluster_rpc" in target["expr"] or not target["expr"].count("{")
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in facts["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_files_beside_it_fit() -> None:
    yaml = pytest.importorskip("yaml")
    prometheus = yaml.safe_load((GRAFANA / "prometheus.yaml").read_text())
    [job] = prometheus["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/cluster.yaml").read_text())["providers"]
    assert provider["type"] == "file"


def test_without_the_extra_it_is_not_imported() -> None:
    """The commands come without it."""
    code = "import sys, cluster.cli; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
