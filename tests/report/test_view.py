"""What a study shows as a whole: figures with the right points, and text as text."""

import json
import re

import pytest
from staged import staged
from studies import evaluations, result_in

from autoseg.report.dashboard.figures import figures
from autoseg.report.dashboard.texts import note
from autoseg.report.markdown import write_markdown
from autoseg.run.result import Result


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Result:
    return result_in(tmp_path_factory.mktemp("run"))


def traces(figure) -> dict[str, dict]:
    return {t["name"]: t for t in json.loads(figure.to_json())["data"]}


def test_figures_front_has_a_trace_with_count_for_each_state(result):
    drawn = traces(figures(result)["front"])
    counts = {name: len(trace["x"]) for name, trace in drawn.items()}
    assert sorted(counts.values()) == [1, 1, 1, 1, 1, 1, 1, 2, 3]
    assert all(name.endswith(f" ({n})") for name, n in counts.items() if "baseline" not in name)
    front = next(trace for trace in drawn.values() if len(trace["x"]) == 3)
    rejected = next(trace for trace in drawn.values() if len(trace["x"]) == 2)
    assert front["x"] == [2.0, 4.0, 8.0]
    assert front["y"] == [0.92, 0.95, 0.97]
    assert rejected["marker"]["symbol"] == "x"
    lines = json.loads(figures(result)["front"].to_json())["layout"]["shapes"]
    assert (lines[0]["x0"], lines[1]["y0"]) == (10.0, 0.9)


def test_figures_of_a_live_run_show_the_best_so_far(tmp_path):
    some = [e for e in evaluations() if e.state in ("scored", "measured", "too_slow")]
    live = result_in(tmp_path, searched=False)
    live = Result(
        folder=live.folder,
        declaration=live.declaration,
        evaluations=tuple(some),
        baseline=None,
        verdict=(),
        spent_s=20.0,
        curve=live.curve[:1],
    )
    drawn = figures(live)
    assert "1 of 3" in drawn["front"].layout.title.text
    assert set(drawn) == {"front", "learning-curves"}
    assert (
        figures(
            Result(
                folder=live.folder,
                declaration=live.declaration,
                evaluations=(),
                baseline=None,
                verdict=(),
                spent_s=0.0,
            )
        )
        == {}
    )


def test_figures_learning_curves_have_every_score_in_few_traces(result):
    drawn = figures(result)["learning-curves"]
    points = sum(x is not None for trace in drawn.data for x in trace.x)
    assert points == sum(s.source == "torch" for e in result.evaluations for s in e.scores)
    assert len(drawn.data) == 5


def test_figures_hypervolume_is_over_minutes(result):
    (line,) = figures(result)["hypervolume"].data
    assert list(line.x) == [10 / 60, 20 / 60, 50 / 60] and list(line.y) == [0.1, 0.2, 0.3]


def test_figures_contain_no_markup_of_user_strings(result):
    for figure in figures(result).values():
        for trace in figure.data:
            for text in trace.text or ():
                assert set(re.findall(r"<[^>]*>", text)) <= {"<b>", "</b>", "<br>"}
                assert "<img" not in text


def test_note_has_verdict_picks_front_and_command(result):
    said = note(result)
    assert re.search(r"3 models .*10 ms .*IoU 0\.9", said)
    rows = [line for line in said.splitlines() if line.startswith("|")]
    rows = rows[: 2 + 3]  # the importance of the knobs follows
    assert all(line.startswith(f"| {rank} | trial") for rank, line in enumerate(rows[2:], 1))
    assert {line.count(" | ") for line in rows} == {9}
    assert re.search("- fastest: .*0", said) and re.search("- accurate: .*2", said)
    assert "\n```sh\nautoseg optimize \\\n    --name " in said


def test_note_has_the_importance_of_the_report_and_says_how_the_panel_differs(tmp_path):
    found = Result.from_run(staged(tmp_path / "run", diagnostics=False))
    write_markdown(found, tmp_path / "report.md")
    said, report = note(found), (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = [line for line in report.splitlines() if re.search(r"\d % \(\d+ to \d+\)", line)]
    assert len(rows) == 6 and all(row in said for row in rows)  # three knobs, on two figures
    for text in (said, report):
        assert "PED-ANOVA" in text and "completed trials" in text
