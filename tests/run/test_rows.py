"""The table and the files of a front."""

import json

import pandas as pd
from factories import make_candidate, make_evaluation, make_measurement, make_score

from autoseg.core.records import Constraints, Evaluation, State
from autoseg.core.serialize import from_json
from autoseg.run.rows import to_pandas, write_front


def evaluation(ms: float, iou: float | None, state: State = "confirmed", **knobs) -> Evaluation:
    scores = () if iou is None else (make_score(iou, 9), make_score(iou - 0.02, 9, split="test"))
    return make_evaluation(
        make_candidate(a=ms, **knobs), state, ms, *scores, p_feasible=0.95,
        measurements=(make_measurement(ms, phase="confirm", p90_ms=ms * 1.1),),
    )  # fmt: skip


FAST, GOOD, BEATEN = evaluation(1, 0.9), evaluation(2.0, 0.95), evaluation(3, 0.92)
SLOW = evaluation(40, None, "too_slow")
STRUCK = evaluation(0.5, 0.99, "rejected")
FAILED = make_evaluation(make_candidate(b="x"), "failed", error="CandidateError: NaN loss")
ALL = (SLOW, BEATEN, GOOD, FAILED, STRUCK, FAST)


def test_to_pandas_has_the_front_first_and_a_column_for_each_figure():
    table = to_pandas(ALL, SLOW)
    assert list(table.columns) == [
        "rank", "key", "state", "a", "resolution", "b", "params", "macs", "latency_mean_ms",
        "latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "model_p50_ms",
        "model_p90_ms", "frame_p50_ms", "frame_p90_ms", "resize_ms", "resize_back_ms", "iou_val",
        "iou_val_low", "iou_val_high", "iou_test", "onnx_bytes", "p_feasible",
        "agreement", "speedup_vs_baseline", "baseline_trained", "flags", "error",
    ]  # fmt: skip
    order = [FAST, GOOD, STRUCK, BEATEN, SLOW, FAILED]
    assert list(table["key"]) == [e.candidate.key for e in order]
    assert list(table["rank"].dropna()) == [1, 2]
    assert list(table["speedup_vs_baseline"][:2]) == [40, 20]
    assert not table["baseline_trained"].any() and to_pandas(ALL, FAST)["baseline_trained"].all()
    assert to_pandas(ALL)["baseline_trained"].isna().all()
    assert table["iou_val"][1] == 0.95
    assert table["iou_test"][1] == 0.95 - 0.02
    assert table["latency_p90_ms"][1] == 2.2
    assert table["params"].dtype == "Int64"
    assert pd.isna(table["params"][5])
    assert table["error"][5] == "CandidateError: NaN loss"
    for some in (table, to_pandas([FAST]), to_pandas([])):
        kinds = {str(some[name].dtype) for name in ("key", "state", "flags", "error")}
        assert kinds == {"string"} and some["iou_val_low"].dtype == "float64"
    assert list(table["iou_val_low"][:2]) == [0.9 - 0.01, 0.95 - 0.01]


def test_to_pandas_of_nothing_has_all_columns():
    table = to_pandas([])
    assert table.empty
    assert {"key", "iou_val", "speedup_vs_baseline"} <= set(table.columns)


def test_to_pandas_without_a_measured_baseline_has_no_speedup():
    assert to_pandas([FAST])["speedup_vs_baseline"].isna().all()
    assert to_pandas([FAST, FAILED], FAILED)["speedup_vs_baseline"].isna().all()


def test_write_front_is_read_back(tmp_path):
    write_front(tmp_path, ALL, Constraints(max_latency_ms=33, min_iou=0.8), SLOW)
    table = pd.read_csv(tmp_path / "front.csv")
    assert list(table["key"]) == [FAST.candidate.key, GOOD.candidate.key]
    assert list(table["speedup_vs_baseline"]) == [40, 20]
    data = json.loads((tmp_path / "front.json").read_text())
    assert [from_json(Evaluation, each) for each in data["front"]] == [FAST, GOOD]
    assert from_json(Evaluation, data["baseline"]) == SLOW
    assert from_json(Constraints, data["constraints"]) == Constraints(
        max_latency_ms=33, min_iou=0.8
    )
    assert data["picks"] == {
        "fastest": FAST.candidate.key,
        "accurate": GOOD.candidate.key,
        "balanced": GOOD.candidate.key,
    }
    assert data["hypervolume"] > 0 and data["baseline_trained"] is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.csv", "front.json"]


def test_write_front_writes_an_empty_front(tmp_path):
    write_front(tmp_path, (SLOW, FAILED), Constraints(max_latency_ms=33, min_iou=0.8))
    assert pd.read_csv(tmp_path / "front.csv").empty
    data = json.loads((tmp_path / "front.json").read_text())
    assert data["front"] == [] and set(data["reasons"].values()) == {None}
    assert data["picks"] == {"fastest": None, "accurate": None, "balanced": None}
