"""What is seen while a run runs: plain lines in a log, a panel in a terminal."""

import io
import re

import pytest
from factories import make_candidate, make_cost, make_measurement, make_score
from rich.console import Console

from autoseg.cli.progress import Progress, sparkline
from autoseg.core.records import Candidate
from autoseg.core.serialize import to_json
from autoseg.core.units import clock
from autoseg.run.declaration import Declaration
from autoseg.run.store import Run

FIRST, OTHER = make_candidate(a=0.5), make_candidate(resolution=96, a=0.5)


def tell(run: Run) -> None:
    """One candidate is trained, another is too slow."""
    for candidate, p50_ms in ((FIRST, 1.5), (OTHER, 40.0)):
        run.record(
            "proposed", candidate, candidate=to_json(candidate), structure=candidate.key,
            cost=to_json(make_cost()),
        )  # fmt: skip
        measurement = make_measurement(p50_ms, p90_ms=1.1 * p50_ms)
        run.record(
            "measured", candidate, measurement=to_json(measurement), onnx_bytes=9,
            too_slow=p50_ms > 33,
        )  # fmt: skip
    run.record("scored", FIRST, score=to_json(make_score(0.91, 3, train_s=12.0)))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (5.9, "0:05"), (75.2, "1:15"), (3600, "1:00:00")]
)
def test_clock_formats_seconds(seconds, shown):
    assert clock(seconds) == shown


def test_progress_in_a_log_writes_a_line_per_event(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    with Progress(Console(file=out)) as progress:
        progress.start(run, Declaration())
        run.record("pool", text="2 slots on the CPU's cores")
        tell(run)
    run.close()
    # The golden text of the log's lines; the other tests look for facts.
    assert [line.partition("] ")[2] for line in out.getvalue().splitlines()] == [
        f"run {run.folder}: intermediate effort, seed 0",
        "2 slots on the CPU's cores",
        f"{FIRST.key} a=0.5 resolution=64: p90 1.65 ms",
        f"{OTHER.key} a=0.5 resolution=96: p90 44 ms, over 33 ms: not trained",
        f"{FIRST.key} IoU 0.9100 on val after 3 epochs (12 s)",
    ]


HOSTILE = Candidate.of("toy", {"resolution": 64, "a": "[bold]x[/] :dog: \x1b[31m\a\u202e"})


def test_progress_escapes_names(tmp_path, monkeypatch):
    out = io.StringIO()
    monkeypatch.setitem(globals(), "FIRST", HOSTILE)
    run = Run.create(tmp_path / "run", {})
    plain = Console(file=out)
    panel = Console(file=out, force_terminal=True, width=200, color_system=None)
    for console in (plain, panel):
        with Progress(console) as progress:
            progress.start(run, Declaration())
            if console is plain:
                tell(run)
            run.report_activity(HOSTILE, f"training {HOSTILE}")
            run.notify("a board said \x1b]0;title\x07")
            console.print(progress._panel(run, Declaration()))
    run.close()
    shown = out.getvalue()
    assert shown.count("[bold]x[/] :dog:  [31m") >= 4
    assert "\x1b[31m" not in shown and "\x1b]" not in shown
    assert not {"\a", "\u202e"} & {*shown}


def test_progress_of_remeasure_names_device_and_ceiling(tmp_path):
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
    assert re.search("pi5 .*20ms", shown)
    assert re.search("verdict .*pi5", shown) and re.search("front .*pi5", shown)


def test_progress_in_a_terminal_has_the_front_against_both_constraints_and_the_time_left(tmp_path):
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
        "9:5", "2 candidates: 1 too slow, 1 scored", "0.9100", "-0.040", "over 33 ms",
    ):  # fmt: skip
        assert said in shown


def look(run: Run, spent_s: float, volume: float) -> None:
    """The search says where it stands, as if so much time had passed."""
    run._spent_before_s = spent_s
    facts = {"horizon_s": 230.0, "gain_hypervolume": 0.1, "gain_iou": 0.0031}
    run.record("outlook", hypervolume=volume, **facts, gain_iou_at_most=0.0079)


@pytest.mark.parametrize("end", ["searched", "interrupted"])
def test_progress_does_not_show_cancelled_jobs_as_running(end, tmp_path):
    run = Run.create(tmp_path / "run", {})
    console = Console(file=io.StringIO(), force_terminal=True, width=140, color_system=None)
    with Progress(console) as progress:
        progress.start(run, Declaration(budget="10m"))
        run.report_activity(FIRST, "training to epoch 9")
        shown = [_text(progress, run)]
        run.record(end)
        shown.append(_text(progress, run))
    run.close()
    assert ["training to epoch 9" in text for text in shown] == [True, False]


def _text(progress: Progress, run: Run) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(progress._panel(run, Declaration(budget="10m")))
    return console.file.getvalue()


LOOK = "hypervolume 0.0123 after 4:10; the next 3:50: about +0.3 IoU points, under 0.8"


def test_progress_in_a_log_writes_an_outlook_per_minute(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    with Progress(Console(file=out)) as progress:
        progress.start(run, Declaration())
        for spent_s, volume in ((250, 0.0123), (260, 0.013), (309, 0.014), (311, 0.015)):
            look(run, spent_s, volume)
        run.notify("finishing: 1 model(s)")
    run.close()
    told = out.getvalue().splitlines()[1:]
    assert told[0] == f"[4:10] {LOOK}"
    assert [line[:31] for line in told[1:]] == [
        "[5:11] hypervolume 0.0150 after", "[5:11] finishing: 1 model(s)"
    ]  # fmt: skip


def test_progress_panel_has_the_outlook_and_its_curve(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    console = Console(file=out, force_terminal=True, width=140, color_system=None)
    with Progress(console) as progress:
        progress.start(run, Declaration(budget="10m"))
        for spent_s, volume in ((100, 0.0), (180, 0.006), (250, 0.0123)):
            look(run, spent_s, volume)
        progress._live.refresh()
    run.close()
    assert f"{LOOK}  ▁▄█" in out.getvalue()
    assert len(sparkline([*range(1000)])) == 40 and sparkline([0.0]) == "▁"


def test_progress_prints_the_plan_after_the_verdict(tmp_path):
    out = io.StringIO()
    run = Run.create(tmp_path / "run", {})
    with Progress(Console(file=out)) as progress:
        progress.start(run, Declaration())
        run.record("plan", allowance=[480.0, None], lines=["15 candidates", "of the 8:00 left"])
    run.close()
    told = [line.partition("] ")[2] for line in out.getvalue().splitlines()[1:]]
    assert [line.strip() for line in told[1:]] == ["15 candidates", "of the 8:00 left"]
