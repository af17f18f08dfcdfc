"""Workers: what happens when they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from golden.integer_network import IntegerNetwork
from sim.explore.evaluation import Outcome, evaluate_case
from sim.explore.space import Case
from sim.explore.workers import ClusterWorkers, InProcess, LocalWorkers, WorkerError
from tests.sim.explore.questions import SPACE, network

POINTS = [point for point in SPACE.points() if point["drain_lanes"] <= point["columns"]]
CASES = {str(index): SPACE.case(point) for index, point in enumerate(POINTS)}
CASES["batch"] = replace(CASES["0"], batch=2)


def expected() -> dict[str, Outcome]:
    return {key: evaluate_case(network(), case) for key, case in CASES.items()}


def dies_once(mark: Path, network: IntegerNetwork, case: Case) -> Outcome:
    """Notes every evaluation; the first one of four columns takes its process with it."""
    with open(mark, "a", encoding="utf-8") as file:
        file.write(f"{case.config.name} {case.batch}\n")
    if case.config.array.columns == 4 and not mark.with_suffix(".dead").exists():
        mark.with_suffix(".dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate_case(network, case)


def always_dies(network: IntegerNetwork, case: Case) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_all_ways_give_the_same_outcomes():
    outcomes = expected()
    with InProcess(network()) as workers:
        assert dict(workers.run(CASES)) == outcomes
    with LocalWorkers(network(), 2) as workers:
        assert dict(workers.run(CASES)) == outcomes
        assert dict(workers.run({})) == {}


def test_a_lost_worker_loses_no_finished_point(tmp_path):
    mark = tmp_path / "evaluated"
    with LocalWorkers(network(), 1, function=partial(dies_once, mark)) as workers:
        found = list(workers.run(CASES))
    assert dict(found) == expected()
    assert len(found) == len(CASES)
    evaluated = mark.read_text().splitlines()
    finished_before = [
        f"{case.config.name} {case.batch}"
        for case in CASES.values()
        if case.config.array.columns == 2
    ]
    assert finished_before
    assert all(evaluated.count(name) == 1 for name in finished_before)


def test_workers_that_die_again_and_again_end_the_search():
    with (
        LocalWorkers(network(), 1, function=always_dies) as workers,
        pytest.raises(WorkerError, match="lost 3 times in a row with 1 candidates left, among"),
    ):
        list(workers.run({"0": CASES["0"]}))


def test_no_scheduler_at_the_address():
    with pytest.raises(WorkerError, match="scheduler must run at tcp://127.0.0.1:1"):
        ClusterWorkers(network(), "tcp://127.0.0.1:1", timeout=1)


CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def scheduler(tmp_path):
    """Address of a cluster with two worker processes, which see this tree."""
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate()


@pytest.mark.slow
def test_a_cluster_whose_worker_is_killed_finishes_all(scheduler, tmp_path):
    mark = tmp_path / "evaluated"
    start = time.monotonic()
    with ClusterWorkers(network(), scheduler, function=partial(dies_once, mark)) as workers:
        assert workers.count == 2
        assert dict(workers.run(CASES)) == expected()
    assert mark.with_suffix(".dead").exists()
    assert time.monotonic() - start < 300
