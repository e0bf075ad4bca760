"""Why nothing meets the constraints, told from ledgers small enough to check by hand."""

from dataclasses import replace

import pytest

from autoseg.core.records import Candidate, Evaluation, Measurement, Score, State
from autoseg.run.declaration import Declaration
from autoseg.run.infeasible import Explanation, explain
from autoseg.run.relaxations import InfeasibleRun

ASKED = Declaration(max_latency="10ms", min_iou=0.9, budget="8m", effort="expert", workers=1)
RUNGS = (3, 9)


def evaluation(
    name: str,
    ms: float | None,
    iou: float | None = None,
    state: State = "scored",
    *,
    epoch: int = 9,
    wide: float = 0.01,
    phase: str = "screen",
    p: float | None = None,
    error: str | None = None,
) -> Evaluation:
    """A candidate with an interval of 2 % around its latency, and of 2 x `wide` around its IoU."""
    measurements = ()
    if ms is not None:
        ci = (0.99 * ms, 1.01 * ms)
        measurements = (
            Measurement(
                device="here",
                phase=phase,
                runtime="ort",
                threads=1,
                provider="CPU",
                runs=2000,
                warmup=10,
                min_ms=ms,
                mean_ms=ms,
                std_ms=0.1,
                p50_ms=ms,
                p50_ci_ms=ci,
                p90_ms=ms,
                p90_ci_ms=ci,
                p95_ms=None,
                p99_ms=None,
                load_ms=5.0,
                peak_rss_bytes=10,
                onnx_digest="d",
                taken_at="now",
            ),
        )
    source = "onnx" if state in ("rejected", "confirmed") else "torch"
    trained = (
        [
            Score(
                split="val",
                source=s,
                iou=iou,
                iou_ci95=(iou - wide, iou + wide),
                class_iou=(iou,),
                pixel_accuracy=0.9,
                epoch=epoch,
                train_s=1.0,
                seed=0,
            )
            for s in dict.fromkeys(("torch", source))
        ]
        if iou
        else []
    )
    candidate = Candidate.of("toy", {"resolution": 64, "name": name})
    return Evaluation(
        candidate=candidate,
        state=state,
        measurements=measurements,
        scores=tuple(trained),
        p_feasible=p,
        error=error,
    )


def explained(*evaluations: Evaluation, device: str | None = None, **asked) -> Explanation:
    declaration = replace(ASKED, **asked)
    return explain(
        InfeasibleRun(
            evaluations=evaluations,
            declaration=declaration,
            name="mine",
            spent_s=480.0,
            device=device,
            rungs=RUNGS,
        )
    )


def ways(explanation: Explanation) -> dict[str, str]:
    return {f"{way.option} {way.value}": way.gives for way in explanation.relax}


def test_a_floor_that_nothing_under_the_ceiling_meets():
    best, slow = evaluation("best", 8.0, 0.87), evaluation("slow", 16.0, state="too_slow")
    found = explained(best, evaluation("low", 2.0, 0.7), slow)
    assert found.binds == "floor" and [e.iou for e in found.nearest] == [0.87, 0.7]
    assert found.summary == (
        "the floor binds: 2 of 3 measured fit 10 ms, and the best of them has IoU 0.8700 of the "
        "0.9 asked for"
    )
    told = ways(found)
    assert [*told] == ["--min-iou 0.86", "--max-latency 18ms"]
    assert told["--min-iou 0.86"].startswith(f"{best.candidate.key} with p90 8 ms (7.92 to 8.08)")
    assert told["--max-latency 18ms"].endswith("would fit; it is untrained, its IoU is unknown")
    assert found.notes[0] == "of 3 candidates: 1 too slow"
    assert "IoU 0.8700 (0.8600 to 0.8800); trained to epoch 9" in "\n".join(found.lines())


def test_a_relaxed_constraint_is_held_to_the_ends_of_intervals():
    """At the ceiling itself, an unsure latency must be given room as well as the floor."""
    at_it = evaluation("at", 10.0, 0.87, "rejected", phase="confirm", p=0.1)
    assert [*ways(explained(at_it))] == ["--max-latency 11ms --min-iou 0.86"]
    (way,) = explained(at_it).relax
    assert way.options == {"--max-latency": "11ms", "--min-iou": "0.86"}
    assert way.gives.endswith("; rejected: its IoU is of the exported file")


def test_a_little_of_both_lies_between_the_two():
    low, mid, high = (evaluation("low", 5, 0.7), evaluation("mid", 12, 0.85),
                      evaluation("high", 40, 0.95))  # fmt: skip
    worse = evaluation("worse", 30, 0.86)
    found = explained(low, worse, mid, high)
    assert [*ways(found)] == [
        "--min-iou 0.69", "--max-latency 44ms", "--max-latency 14ms --min-iou 0.84"
    ]  # fmt: skip
    assert found.binds == "both" and "the floor is met from 40 ms on" in found.summary
    elsewhere = explained(low, mid, high, device="board")
    told = ways(elsewhere)
    assert "(the floor here is the run's: begin a run with that one)" in told["--min-iou 0.69"]
    assert "begin a run" not in told["--max-latency 44ms"]


def test_a_ceiling_that_nothing_meets():
    slow = [evaluation(str(ms), ms, state="too_slow") for ms in (30.0, 20.0)]
    found = explained(*slow)
    assert found.binds == "ceiling" and found.nearest == (slow[1],)
    assert found.summary == (
        "the ceiling binds: nothing meets 10 ms: the fastest of 2 measured needs 20 ms (p90)"
    )
    assert [*ways(found)] == ["--max-latency 22ms"]
    assert explained(evaluation("a", 20.0, 0.95), device="b").binds == "ceiling"
    neither = explained(evaluation("a", 20.0, 0.8), device="b")
    assert neither.binds == "both" and "the best IoU is 0.8000 of the 0.9" in neither.summary


def test_time_binds_where_training_was_cut_off():
    found = explained(evaluation("a", 5.0, 0.8, epoch=3), evaluation("b", 6.0, state="measured"))
    assert found.binds == "time" and found.summary.endswith("trained to epoch 3 of 9")
    told = ways(found)["--budget 16m"]
    assert told == (
        "with `autoseg optimize --resume --name mine`: of those that fit, 1 untrained, "
        "1 trained to epoch 3 of 9 at most; the gain of more is unknown"
    )
    by_trials = explained(evaluation("a", 5.0, 0.8, epoch=3), budget=None, trials=4)
    assert by_trials.binds == "floor" and "--trials 8" in ways(by_trials)
    untrained = explained(evaluation("b", 6.0, state="measured"))
    assert untrained.binds == "time" and untrained.summary.endswith("none was trained to a score")


def test_what_meets_both_figures_waits_or_is_not_sure_enough():
    waits = explained(evaluation("a", 5.0, 0.95))
    assert (waits.binds, waits.summary) == (
        "time", "1 meet both figures and are not confirmed yet"
    )  # fmt: skip
    unsure = explained(evaluation("a", 5.0, 0.905, "rejected", wide=0.03, p=0.63))
    assert unsure.binds == "floor" and unsure.summary == (
        "1 met both figures, but not with enough certainty: P 0.63 at most, and 0.9 is required"
    )
    assert "more pictures in val" in unsure.notes[0] and "--min-iou 0.875" in ways(unsure)
    slow = explained(evaluation("a", 9.99, 0.95, "rejected", phase="confirm", p=0.58))
    assert slow.binds == "ceiling" and [*ways(slow)] == ["--max-latency 11ms"]


def test_failures_are_counted_and_the_first_is_told():
    failed = [evaluation(n, 5.0, state="failed", error=f"NaN in {n}") for n in "ab"]
    found = explained(*failed, evaluation("c", 40.0, state="too_slow"))
    assert found.summary == "2 of 3 measured fit 10 ms, and none was trained to a score: 2 failed"
    assert "of 3 candidates: 1 too slow, 2 failed" in found.notes
    assert f"the first failure ({failed[0].candidate.key}): NaN in a" in found.notes
    nothing = explained(evaluation("a", None, state="failed", error="cannot be exported"))
    assert nothing.summary == "no candidate could be measured" and nothing.nearest == ()
    assert any("cannot be exported" in line for line in nothing.lines())


@pytest.mark.parametrize("floor", [0.001, 0.004])
def test_no_floor_of_nothing_is_offered(floor):
    assert not ways(explained(evaluation("a", 5.0, floor + 0.005)))


def test_the_explanation_as_json_has_figures_with_intervals():
    (near,) = explained(evaluation("a", 8.0, 0.87)).to_json()["nearest"]
    assert near["knobs"] == {"name": "a", "resolution": 64} and near["state"] == "scored"
    assert near["statistic"] == "p90"
    assert near["latency_ci95_ms"] == [pytest.approx(7.92), pytest.approx(8.08)]
    assert near["iou_ci95"] == [pytest.approx(0.86), pytest.approx(0.88)]
