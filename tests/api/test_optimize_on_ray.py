"""A search on Ray: nodes and the driver may be killed, and it ends as on this machine alone."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from compare_runs import latency_ms, steps
from rays import CPU_NODE, node_that_trains, processes_of_ray

import autoseg
from autoseg.run.ledger import read_events

pytestmark = pytest.mark.ray

RECIPE = {
    "rungs": [1, 40], "batch": 2, "warmup_steps": 2, "learning_rate": 0.01, "augment": False,
}  # fmt: skip


def search(tiny, results: Path, name: str, **given):
    return autoseg.optimize(
        **{**tiny.given, "recipe": RECIPE, "trials": 3, "min_iou": 0.3, **given},
        device=autoseg.FakeDevice(latency_ms), results=results, name=name,
    )  # fmt: skip


def test_optimize_on_three_nodes_ends_as_on_this_machine(tiny, tmp_path, cluster):
    """One worker at a time, so that the order is the same; its node is killed, another added."""
    here = search(tiny, tmp_path, "here")
    killed = []

    def follow(event) -> None:
        if event["event"] == "scored" and not killed and (node := node_that_trains(cluster)):
            killed.append(node)
            cluster.remove_node(node, allow_graceful=False)
            cluster.add_node(**CPU_NODE)

    there = search(
        tiny, tmp_path, "there", pool=cluster.address, gpus_per_trial=1.0, on_event=follow
    )
    assert killed
    assert steps(there.folder) == steps(here.folder)
    texts = [e["text"] for e in read_events(there.folder) if e["event"] == "pool"]
    assert any("goes on from the last checkpoint" in text or "by Ray" in text for text in texts)


def test_optimize_whose_driver_is_killed_goes_on(tiny, tmp_path, processes, autoseg_command):
    asked = tiny.arguments(
        recipe=RECIPE, min_iou=0.4, trials=1, name="run", pool="ray", max_latency="100ms"
    )
    before = processes_of_ray()
    program = Path(__file__).parents[1] / "brief.py"
    driver = subprocess.Popen([sys.executable, program, *asked], cwd=tmp_path)
    saved = tmp_path / "results" / "run" / "checkpoints"
    processes.wait_for(lambda: any(saved.glob("*-1.pt")), within_s=180)
    driver.send_signal(signal.SIGKILL)
    driver.wait(60)
    processes.wait_for(lambda: processes_of_ray() <= before, within_s=60)
    run = tmp_path / "results" / "run"
    assert not any(event["event"] == "finished" for event in read_events(run))

    called = autoseg_command(
        "optimize", "--resume", "--name", "run", "--results", str(run.parent), "--json"
    )
    assert called.code in (0, 3), called.stderr
    scores = [
        (e["key"], e["score"]["epoch"], e["score"]["decayed"])
        for e in read_events(run) if e["event"] == "scored"
    ]  # fmt: skip
    assert len(scores) == len(set(scores)) and read_events(run)[-1]["event"] == "finished"
