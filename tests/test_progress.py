"""What is seen while a run runs: plain lines in a log, a panel in a terminal."""

import io

import pytest
from rich.console import Console

from autoseg.declaration import Declaration
from autoseg.progress import Progress, clock
from autoseg.records import Candidate, Cost, Measurement, Score, to_json
from autoseg.store import Run

FIRST = Candidate.of("toy", {"resolution": 64, "a": 0.5})
OTHER = Candidate.of("toy", {"resolution": 96, "a": 0.5})


def tell(run: Run) -> None:
    """One candidate is trained, another is too slow."""
    for candidate, p50_ms in ((FIRST, 1.5), (OTHER, 40.0)):
        run.record(
            "proposed", candidate, candidate=to_json(candidate), structure=candidate.key,
            cost=to_json(Cost(1, 2, 3)),
        )  # fmt: skip
        measurement = Measurement(
            "pi4", "screen", "onnxruntime 1.20", 1, "CPU", 40, 10, p50_ms, p50_ms, 0.1, p50_ms,
            (p50_ms, p50_ms), 1.1 * p50_ms, None, None, None, 5.0, 1000, "d", "2026-01-01",
        )  # fmt: skip
        run.record(
            "measured", candidate, measurement=to_json(measurement), onnx_bytes=9,
            too_slow=p50_ms > 33,
        )  # fmt: skip
    score = Score("val", "torch", 0.91, (0.9, 0.92), (0.99, 0.91), 0.98, 3, 12.0, 0)
    run.record("scored", FIRST, score=to_json(score))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (5.9, "0:05"), (75.2, "1:15"), (3600, "1:00:00")]
)
def test_a_clock_reads_as_one(seconds, shown):
    assert clock(seconds) == shown


def test_a_log_gets_a_line_an_event(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    with Progress(Console(file=out)) as progress:
        progress.start(run, Declaration(workers=2))
        tell(run)
    run.close()
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == [
        f"run {run.folder}: intermediate effort, 2 worker(s), seed 0",
        f"{FIRST.key} a=0.5 resolution=64: p90 1.65 ms",
        f"{OTHER.key} a=0.5 resolution=96: p90 44 ms, over 33 ms: not trained",
        f"{FIRST.key} IoU 0.9100 on val after 3 epochs (12 s)",
    ]


def test_a_remeasuring_is_told_of_as_what_it_is(tmp_path):
    out = io.StringIO()
    Run.create(tmp_path / "run", {}).close()
    run = Run.open(tmp_path / "run", "pi5")
    console = Console(file=out, force_terminal=True, width=140, color_system=None)
    with Progress(console) as progress:
        progress.start(run, Declaration(max_latency="20ms"))
        run.record("verdict", lines=["nothing fits"])
        progress._live.refresh()
    run.close()
    shown = out.getvalue()
    assert "measured on pi5 up to 20ms, nothing is trained" in shown
    assert "verdict on pi5:" in shown and "front so far (val, on pi5)" in shown


def test_a_terminal_gets_the_front_against_both_constraints_and_the_time_left(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    console = Console(file=out, force_terminal=True, width=140, color_system=None)
    with Progress(console) as progress:
        progress.start(run, Declaration(budget="10m"))
        tell(run)
        progress._live.refresh()
    run.close()
    shown = out.getvalue()
    for said in (
        "spent, 9:5", "left · 2 candidates: 1 too slow, 1 scored", "front so far",
        "0.9100", "-0.040", "over 33 ms: not trained",
    ):  # fmt: skip
        assert said in shown
