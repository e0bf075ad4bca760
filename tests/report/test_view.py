"""What a study shows as a whole: figures with the right points, and text as text."""

import json
import re

import pytest
from studies import evaluations, result_in

from autoseg.report.dashboard.figures import figures
from autoseg.report.dashboard.snapshot import note
from autoseg.run.result import Result


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Result:
    return result_in(tmp_path_factory.mktemp("run"))


def traces(figure) -> dict[str, dict]:
    return {t["name"]: t for t in json.loads(figure.to_json())["data"]}


def test_the_front_tells_all_states_apart_and_counts_them(result):
    drawn = traces(figures(result)["front"])
    assert {name: len(trace["x"]) for name, trace in drawn.items()} == {
        "front (3)": 3, "confirmed, beaten (1)": 1, "trained, not confirmed (1)": 1,
        "stopped (1)": 1, "rejected (2)": 2, "failed, no IoU (1)": 1, "fits, not trained (1)": 1,
        "too slow (1)": 1, "baseline": 1,
    }  # fmt: skip
    assert drawn["front (3)"]["x"] == [2.0, 4.0, 8.0]
    assert drawn["front (3)"]["y"] == [0.92, 0.95, 0.97]
    assert drawn["rejected (2)"]["marker"]["symbol"] == "x"
    lines = json.loads(figures(result)["front"].to_json())["layout"]["shapes"]
    assert (lines[0]["x0"], lines[1]["y0"]) == (10.0, 0.9)


def test_a_live_run_shows_what_is_best_so_far(tmp_path):
    some = [e for e in evaluations() if e.state in ("scored", "measured", "too_slow")]
    live = result_in(tmp_path, searched=False)
    live = Result(live.folder, live.declaration, tuple(some), None, (), 20.0, curve=live.curve[:1])
    drawn = figures(live)
    assert drawn["front"].layout.title.text == "Front so far, unconfirmed: 1 of 3 candidates"
    assert set(drawn) == {"front", "learning-curves"}
    assert figures(Result(live.folder, live.declaration, (), None, (), 0.0)) == {}


def test_curves_hold_every_score_of_training_in_few_traces(result):
    drawn = figures(result)["learning-curves"]
    points = sum(x is not None for trace in drawn.data for x in trace.x)
    assert points == sum(s.source == "torch" for e in result.evaluations for s in e.scores)
    assert len(drawn.data) == 5


def test_the_hypervolume_is_over_minutes(result):
    (line,) = figures(result)["hypervolume"].data
    assert list(line.x) == [10 / 60, 20 / 60, 50 / 60] and list(line.y) == [0.1, 0.2, 0.3]


def test_no_string_of_a_user_is_markup_in_a_figure(result):
    for figure in figures(result).values():
        for trace in figure.data:
            for text in trace.text or ():
                assert set(re.findall(r"<[^>]*>", text)) <= {"<b>", "</b>", "<br>"}
                assert "<img" not in text


def test_the_note_has_verdict_picks_front_and_command(result):
    said = note(result)
    assert "3 models meet 10 ms and IoU 0.9" in said
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert {line.count(" | ") for line in rows} == {8}
    assert "- fastest: trial 0" in said and "- accurate: trial 2" in said
    assert "\n```sh\nautoseg optimize \\\n    --name " in said
