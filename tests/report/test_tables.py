"""The table and the files of a front."""

import json

import pandas as pd

from autoseg.core.records import (
    Candidate,
    Constraints,
    Cost,
    Evaluation,
    Measurement,
    Score,
    State,
)
from autoseg.core.serialize import from_json
from autoseg.run.rows import to_pandas, write_front


def candidate(**knobs) -> Candidate:
    return Candidate.of("toy", {"resolution": 64, **knobs})


def measurement(ms: float, p90: float | None) -> Measurement:
    return Measurement(
        device="here",
        phase="confirm",
        runtime="ort",
        threads=1,
        provider="CPU",
        runs=2000,
        warmup=10,
        min_ms=ms,
        mean_ms=ms,
        std_ms=0.1,
        p50_ms=ms,
        p50_ci_ms=(ms, ms),
        p90_ms=p90,
        p90_ci_ms=None,
        p95_ms=None,
        p99_ms=None,
        load_ms=5.0,
        peak_rss_bytes=10,
        onnx_digest="d",
        taken_at="now",
    )


def score(iou: float, split="val") -> Score:
    return Score(
        split=split,
        source="onnx",
        iou=iou,
        iou_ci95=(iou - 0.01, iou + 0.01),
        class_iou=(None, iou),
        pixel_accuracy=0.99,
        epoch=9,
        train_s=1.0,
        seed=0,
    )


def evaluation(ms: float, iou: float | None, state: State = "confirmed", **knobs) -> Evaluation:
    return Evaluation(
        candidate=candidate(a=ms, **knobs),
        state=state,
        cost=Cost(params=1000, macs=2000, activation_bytes=3000),
        onnx_bytes=4000,
        measurements=(measurement(ms, ms * 1.1),),
        scores=() if iou is None else (score(iou), score(iou - 0.02, "test")),
        p_feasible=0.95,
    )


FAST, GOOD, BEATEN = evaluation(1, 0.9), evaluation(2.0, 0.95), evaluation(3, 0.92)
SLOW = evaluation(40, None, "too_slow")
STRUCK = evaluation(0.5, 0.99, "rejected")
FAILED = Evaluation(candidate=candidate(b="x"), state="failed", error="CandidateError: NaN loss")
ALL = (SLOW, BEATEN, GOOD, FAILED, STRUCK, FAST)


def test_the_table_has_the_front_first_and_a_column_for_each_figure():
    table = to_pandas(ALL, SLOW)
    assert list(table.columns) == [
        "rank", "key", "state", "a", "resolution", "b", "params", "macs", "latency_mean_ms",
        "latency_p50_ms", "latency_p90_ms", "latency_p95_ms", "latency_p99_ms", "iou_val",
        "iou_val_low", "iou_val_high", "iou_test", "onnx_bytes", "p_feasible",
        "agreement", "speedup_vs_baseline", "flags", "error",
    ]  # fmt: skip
    order = [FAST, GOOD, STRUCK, BEATEN, SLOW, FAILED]
    assert list(table["key"]) == [e.candidate.key for e in order]
    assert list(table["rank"].dropna()) == [1, 2]
    assert list(table["speedup_vs_baseline"][:2]) == [40, 20]
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


def test_a_table_of_nothing_still_has_its_columns():
    table = to_pandas([])
    assert table.empty
    assert {"key", "iou_val", "speedup_vs_baseline"} <= set(table.columns)


def test_without_a_measured_baseline_there_is_no_speedup():
    assert to_pandas([FAST])["speedup_vs_baseline"].isna().all()
    assert to_pandas([FAST, FAILED], FAILED)["speedup_vs_baseline"].isna().all()


def test_the_front_that_is_written_is_read_back(tmp_path):
    write_front(tmp_path, ALL, Constraints(33, 0.8), SLOW)
    table = pd.read_csv(tmp_path / "front.csv")
    assert list(table["key"]) == [FAST.candidate.key, GOOD.candidate.key]
    assert list(table["speedup_vs_baseline"]) == [40, 20]
    data = json.loads((tmp_path / "front.json").read_text())
    assert [from_json(Evaluation, each) for each in data["front"]] == [FAST, GOOD]
    assert from_json(Evaluation, data["baseline"]) == SLOW
    assert from_json(Constraints, data["constraints"]) == Constraints(33, 0.8)
    assert data["picks"] == {
        "fastest": FAST.candidate.key,
        "accurate": GOOD.candidate.key,
        "balanced": FAST.candidate.key,
    }
    assert data["hypervolume"] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.csv", "front.json"]


def test_an_empty_front_is_written_too(tmp_path):
    write_front(tmp_path, (SLOW, FAILED), Constraints(33, 0.8))
    assert pd.read_csv(tmp_path / "front.csv").empty
    data = json.loads((tmp_path / "front.json").read_text())
    assert data["front"] == [] and set(data["reasons"].values()) == {None}
    assert data["picks"] == {"fastest": None, "accurate": None, "balanced": None}
