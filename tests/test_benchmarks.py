"""The benchmarks of the training run on a few pictures, and say what they should."""

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from factories import make_measurement, make_score

from autoseg.core.records import Candidate, Constraints
from autoseg.core.serialize import to_json
from autoseg.run.result import Result
from autoseg.train.losses import loss_gradient

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: object, cwd: Path | None = None) -> str:
    command = [sys.executable, ROOT / "benchmarks" / script, *arguments]
    done = subprocess.run(
        [str(word) for word in command], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_crossing_interpolates_seconds_to_an_iou_between_two_rungs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from iou_tables import Point, crossing, ratio, spread

    curve = [Point(2, 1.0, 0.80), Point(4, 4.0, 0.88), Point(8, 16.0, 0.92), Point(9, 17.0, 0.91)]
    assert crossing(curve, 0.90) == pytest.approx((8.0, 32**0.5))  # halfway on the logarithm
    assert crossing(curve, 0.70) == (1.0, 2) and crossing(curve, 0.95) is None
    assert spread([4.0, 1.0, float("inf")]) == "4.0 (1.0 to never; 2 of 3)"
    assert ratio([8.0, 8.0], [4.0, 2.0]) == "4.00" and ratio([8.0], [float("inf")]) == ""


@pytest.mark.parametrize("classes", [1, 3])
def test_plain_loop_minimizes_the_loss_of_train(monkeypatch, classes):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from plain_loop import loss_of

    masks = torch.randint(0, 3, (2, 8, 8)).to(torch.uint8)
    masks[0, :2] = 255
    logits = torch.randn(2, classes, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(loss_of(logits, masks, 0.4), logits)
    assert torch.allclose(slope, loss_gradient(logits.detach(), masks, 0.4), atol=1e-6)


@pytest.mark.slow
def test_train_speed_compares_a_plain_loop_and_the_bound(tiny, tmp_path):
    said = run(
        "train_speed.py", "--data", tiny.data, "--nets", "small", "--resolutions", 96,
        "--repeats", 1, "--seconds", 0.05, "--recipe", "batch=4", "--out", tmp_path / "speed",
    )  # fmt: skip
    assert said.count("| small") == 4, "one core, the machine, the split of time, the evaluation"
    assert said.strip() in (tmp_path / "speed.md").read_text()
    (row,) = csv.DictReader((tmp_path / "speed.csv").open())
    assert all(float(row[f"{name}_per_s"]) > 0 for name in ("ours", "plain", "bound", "decode"))


@pytest.mark.slow
def test_launches_counts_each_part_of_a_step(tmp_path):
    run("launches.py", "--out", tmp_path / "launches.md")
    rows = list(csv.DictReader((tmp_path / "launches.csv").open()))
    now = [row for row in rows if row["code"] == "now"]
    assert len(now) == 6 and all(row["copies from the host"] == "0" for row in now)
    assert all(int(row["forward"]) > int(row["loss"]) > int(row["average"]) > 0 for row in now)
    assert all(int(row["all"]) < int(was["all"]) for was, row in zip(rows[::2], now, strict=True))


@pytest.mark.slow
def test_gpu_writes_its_three_tables(tmp_path):
    run("gpu.py", "--device", "cpu", "--quick", "--out", tmp_path / "gpu.md")
    written = (tmp_path / "gpu.md").read_text()
    titles = [line[3:] for line in written.splitlines() if line.startswith("## ")]
    assert len(titles) == 3 and "standard error of 0.0000" in written


@pytest.mark.slow
def test_seconds_to_iou_are_appended_and_compared_by_label(tiny, tmp_path):
    given = ["--data", tiny.data, "--nets", "small 96", "--seeds", 1, "--epochs", 3]
    given += ["--recipe", "batch=2", "--out", tmp_path / "iou"]
    for label in ("before", "after", "after"):  # the third finds its row there
        said = run("seconds_to_iou.py", "--label", label, *given)
    rows = list(csv.DictReader((tmp_path / "iou.csv").open()))
    assert [row["label"] for row in rows] == ["before", "after"]
    assert all(len(row["curve"].split()) >= 1 and float(row["iou"]) > 0 for row in rows)
    assert "before, s" in said and said.strip() in (tmp_path / "iou.md").read_text()


def test_compare_fronts_as_steps(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from fronts import area, best_within, deficits, fastest_at, front_points, ratio

    ours, theirs = [(1.0, 0.92), (2.0, 0.96)], [(0.5, 0.91), (1.5, 0.95), (3.0, 0.94), (8.0, 0.99)]
    assert front_points(theirs) == [(0.5, 0.91), (1.5, 0.95), (8.0, 0.99)]
    assert best_within(ours, 1.9) == 0.92 and best_within(ours, 0.9) is None
    assert fastest_at(theirs, 0.94) == 1.5 and fastest_at(ours, 0.97) is None
    # Where there is nothing of ours, the floor stands for it; past 4 ms nobody looks.
    gaps = deficits(ours, theirs, 4.0, 0.90)
    assert [ms for ms, _ in gaps] == [0.5, 1.5]
    assert [gap for _, gap in gaps] == pytest.approx([0.01, 0.03])
    assert deficits(ours, [(1.2, 0.91)], 4.0, 0.90)[0][1] < 0
    assert area(ours, 4.0, 0.90) == pytest.approx(0.02 * math.log(2) + 0.06 * math.log(2))
    assert ratio(1.0, 2.0) == "0.500" and ratio(None, 2.0) == ""


def test_published_models_are_built_once_per_architecture(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from against_thesis import published
    from thesis_tables import gaps, of, points_of

    head = "set,res,a,t,r,pp,iou_dataset,iou_per_image,min_ms,p50_ms,p90_ms\n"
    rows = ",96,0.125,2,1,0,0.91,0,1,1,1\n,96,0.125,2,1,0,0.92,0,1,1,1\n,96,1,6,1,0,0.93,0,1,1,1\n"
    (tmp_path / "models.csv").write_text(head + rows)
    small, wide = published(tmp_path / "models.csv")
    assert small.ious == (0.91, 0.92) and wide.knobs["a"] == 1.0
    timings = [
        {"model": small.key, "p50_ms": ms, "p50_low_ms": "0.05", "p50_high_ms": "0.3"}
        for ms in ("0.3", "0.1", "0.2")
    ]
    points = points_of(small, timings)
    assert of(points, "thesis") == [(0.2, 0.91), (0.2, 0.92)] and points[0]["p50_high_ms"] == 0.3
    assert gaps("ours", [(0.1, 0.95)], of(points, "thesis"))[0].endswith("nowhere worse.")


def test_live_hypervolume_grows_with_undecayed_scores(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from live import areas

    candidate = Candidate.of("s", {"resolution": 96})
    key, limits = candidate.key, Constraints(max_latency_ms=4.0, min_iou=0.8, statistic="p50")
    timed = {"measurement": to_json(make_measurement(1.0)), "too_slow": False, "onnx_bytes": 1}
    about = [("proposed", {"candidate": to_json(candidate), "cost": None}), ("measured", timed)]
    scores = [make_score(0.9, 3), make_score(0.85, 9), make_score(0.99, 11, decayed=True)]
    about += [("scored", {"score": to_json(score)}) for score in scores]
    events = [
        {"event": kind, "spent_s": float(second), "key": key, **facts}
        for second, (kind, facts) in enumerate(about, start=1)
    ]
    # A lower score of a longer training takes nothing back; a decayed one is of another kind.
    area = 0.1 * math.log(4)
    assert areas(events, limits) == [
        (0, 0),
        (3.0, pytest.approx(area)),
        (4.0, pytest.approx(area)),
    ]


@pytest.mark.slow
def test_live_compares_whole_searches_and_repeats_none(tiny, tmp_path):
    given = ["--data", tiny.data, "--space", tiny.space, "--effort", "expert", "--workers", 1]
    given += ["--budget", "15s", "--max-latency", "50ms", "--min-iou", 0.01, "--recipe", "batch=4"]
    given += ["--search", "autoseg", "--search", "random --recipe schedule=quick"]
    said = run("live.py", *given, "--out", tmp_path / "live", cwd=tmp_path)
    assert said.strip() in (tmp_path / "live.md").read_text() and (tmp_path / "live.png").exists()
    rows = list(csv.DictReader((tmp_path / "live.csv").open()))
    assert {row["search"] for row in rows} == {"autoseg", "random --recipe schedule=quick"}
    folders = sorted((tmp_path / "results/live/live").iterdir())
    before = [(folder / "run/ledger.jsonl").read_bytes() for folder in folders]
    # A finished one is not repeated; one that was interrupted goes on where it was.
    last = before[0].rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    (folders[0] / "run/ledger.jsonl").write_bytes(last)
    run("live.py", *given, "--out", tmp_path / "live", cwd=tmp_path)
    again = [(folder / "run/ledger.jsonl").read_bytes() for folder in folders]
    assert again[1] == before[1] and again[0].startswith(last) and b'"finished"' in again[0]
    assert (folders[0] / "load").read_text().count("\n") == 2


@pytest.mark.slow
def test_published_comparison_includes_a_run(tiny, tmp_path):
    from autoseg.api.optimize import optimize

    folder = optimize(**tiny.given, results=tmp_path / "results", name="run").folder
    head = "set,res,a,t,r,pp,iou_dataset\n"
    (tmp_path / "models.csv").write_text(head + ",64,0.125,2,1,0,0.91\noverall,96,1,6,1,1,0.93\n")
    given = [folder, "--models", tmp_path / "models.csv", "--rounds", 2, "--max-s", 0.2]
    given += ["--out", tmp_path / "two"]
    said = run("against_thesis.py", *given)
    assert said.strip() in (tmp_path / "two.md").read_text() and (tmp_path / "two.png").exists()
    rows = list(csv.DictReader((tmp_path / "two.csv").open()))
    evaluations = Result.from_run(folder).evaluations
    confirmed = {e.candidate.key for e in evaluations if e.state == "confirmed"}
    assert {row["model"] for row in rows if row["who"] == "autoseg"} == confirmed
    timings = (folder / "against-thesis" / "timings.csv").read_text()
    # Two published, the untuned one, ours; twice. What was timed is not timed again.
    assert timings.count("\n") == 1 + 2 * (3 + len(confirmed))
    run("against_thesis.py", *given)
    assert (folder / "against-thesis" / "timings.csv").read_text() == timings
    # The same architectures timed again, from the table alone.
    given = [tmp_path / "two.csv", *given[1:-1], tmp_path / "again"]
    run("against_thesis.py", *given, cwd=tmp_path)
    again = list(csv.DictReader((tmp_path / "again.csv").open()))
    assert [(row["model"], row["iou"]) for row in again] == [(r["model"], r["iou"]) for r in rows]


@pytest.mark.ray
def test_pools_write_what_a_job_costs(tmp_path):
    run("pools.py", "--parts", "jobs", "--jobs", 20, "--out", tmp_path / "pools")
    rows = list(csv.DictReader((tmp_path / "pools-jobs.csv").open()))
    assert [row["pool"] for row in rows] == ["local", "ray"]
    assert all(float(row["wall ms a job"]) > 0 for row in rows)
    assert "| ray " in (tmp_path / "pools.md").read_text()
