"""The result in the terminal: every model once, under what it is, each figure under its name."""

import re
from dataclasses import replace

from factories import make_measurement
from studies import result_in

from autoseg.report.console import result_lines
from autoseg.report.plot_data import latency_text
from autoseg.run.declaration import Declaration
from autoseg.run.result import Result
from autoseg.run.rows import latency


def rows(result: Result) -> list[str]:
    """Of the table, without its head."""
    keys = tuple(e.candidate.key for e in result.evaluations)
    return [line for line in result_lines(result) if line.rstrip().endswith(keys)]


def test_result_lines_lists_a_rejected_baseline_once(tmp_path):
    result = result_in(tmp_path)
    assert [row.split()[0] for row in rows(result)[-3:]] == ["baseline", "rejected", "rejected"]
    rejected = next(e for e in result.evaluations if e.state == "rejected")
    found = rows(replace(result, baseline=rejected))
    assert len(found) == 3 + 2 and found[-2].split()[:2] == ["rejected", "baseline"]
    found = rows(replace(result, baseline=result.front[1]))
    assert len(found) == 3 + 2 and found[1].split()[:2] == ["2", "baseline"]


def test_result_lines_compares_with_a_trained_baseline_by_both_iou(tmp_path):
    result = result_in(tmp_path)  # whose baseline was too slow to be trained
    text = "\n".join(result_lines(result))
    assert " x untrained baseline " in text and "as the baseline" not in text
    found = replace(result, baseline=result.front[0])
    text = "\n".join(result_lines(found))
    assert "untrained" not in text.split("\n")[1]
    assert re.search(r"has IoU 0\.9700, .*4 times as slow as the baseline with IoU 0\.9200", text)


def test_result_lines_has_a_column_of_the_constrained_statistic_and_marks_too_few_runs(tmp_path):
    made = result_in(tmp_path)
    asked = Declaration(**{**vars(made.declaration), "statistic": "p99"})
    few, *more = made.evaluations
    (timed,) = few.measurements
    few = replace(few, measurements=(replace(timed, p99_ms=None, p95_ms=None),))
    result = replace(made, declaration=asked, evaluations=(few, *more))
    (head,) = [line for line in result_lines(result) if " p50 ms " in line]
    assert " p99 ms " in head and "  p90 ms " not in head
    assert ["(p90)" in row for row in rows(result)[:3]] == [True, False, False]
    assert "p90, IoU" in result.reason("fastest") and "p99, IoU" in result.reason("accurate")


def test_latency_text_says_where_an_interval_makes_a_figure_useless():
    wide = {"p90_ms": 0.54, "p90_ci_ms": (0.2, 1.9)}
    confirmed = latency(make_measurement(0.5, phase="confirm", **wide), "p90")
    screened = latency(make_measurement(0.5, phase="screen", **wide), "p90")
    assert latency_text(confirmed, "p90") == "unusable (0.2 to 1.9)"
    assert latency_text(screened, "p90") == "~0.54"
    assert latency_text(latency(make_measurement(0.5), "p90"), "p90") == "0.5"
