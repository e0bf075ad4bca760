"""Why nothing meets the constraints, told from ledgers small enough to check by hand."""

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_candidate, make_evaluation, make_measurement, make_score

from autoseg.core.records import Evaluation, State
from autoseg.run.commands import Commands
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
        measurements = (make_measurement(ms, phase=phase, p50_ci_ms=ci, p90_ci_ms=ci),)
    sources = ("torch", "onnx") if state in ("rejected", "confirmed") else ("torch",)
    scores = [make_score(iou, epoch, wide=wide, source=s) for s in sources] if iou else ()
    return make_evaluation(
        make_candidate(name=name), state, None, *scores, measurements=measurements,
        p_feasible=p, error=error,
    )  # fmt: skip


def explained(
    *evaluations: Evaluation, device: str | None = None, interrupted: bool = False, **asked
) -> Explanation:
    declaration = replace(ASKED, **asked)
    return explain(
        InfeasibleRun(
            evaluations=evaluations,
            declaration=declaration,
            commands=Commands(Path("results/mine"), declaration, declaration),
            spent_s=480.0,
            interrupted=interrupted,
            device=device,
            rungs=RUNGS,
        )
    )


def ways(explanation: Explanation) -> dict[str, str]:
    return {str(way): way.gives for way in explanation.relax}


def test_explanation_of_a_floor_that_nothing_under_the_ceiling_meets():
    best, slow = evaluation("best", 8.0, 0.87), evaluation("slow", 16.0, state="too_slow")
    found = explained(best, evaluation("low", 2.0, 0.7), slow)
    assert found.binds == "floor" and [e.iou for e in found.nearest] == [0.87, 0.7]
    # The golden text of this message; the other tests look for its facts.
    assert found.summary == (
        "the floor binds: 2 of 3 measured fit 10 ms, and the best of them has IoU 0.8700 of the "
        "0.9 asked for"
    )
    told = ways(found)
    assert [*told] == ["--min-iou 0.86", "--max-latency 18ms"]
    facts = rf"^{best.candidate.key} .*p90 8 ms \(7\.92 to 8\.08\)"
    assert re.search(facts, told["--min-iou 0.86"])
    assert slow.candidate.key in told["--max-latency 18ms"]
    assert re.search(r"3 candidates: 1 too slow$", found.notes[0])
    assert re.search(r"IoU 0\.8700 \(0\.8600 to 0\.8800\).*epoch 9", "\n".join(found.lines()))


def test_explanation_relaxes_a_constraint_to_the_end_of_the_interval():
    """At the ceiling itself, an unsure latency must be given room as well as the floor."""
    at_it = evaluation("at", 10.0, 0.87, "rejected", phase="confirm", p=0.1)
    assert [*ways(explained(at_it))] == ["--max-latency 11ms --min-iou 0.86"]
    (way,) = explained(at_it).relax
    assert way.options == {"--max-latency": "11ms", "--min-iou": "0.86"}
    assert "exported" in way.gives


def test_explanation_offers_a_relaxation_of_both_between_the_two():
    low, mid, high = (evaluation("low", 5, 0.7), evaluation("mid", 12, 0.85),
                      evaluation("high", 40, 0.95))  # fmt: skip
    worse = evaluation("worse", 30, 0.86)
    found = explained(low, worse, mid, high)
    assert [*ways(found)] == [
        "--min-iou 0.69", "--max-latency 44ms", "--max-latency 14ms --min-iou 0.84"
    ]  # fmt: skip
    assert found.binds == "both" and "40 ms" in found.summary
    elsewhere = explained(low, mid, high, device="board")
    told = ways(elsewhere)
    remark = told["--min-iou 0.69"].removeprefix(ways(found)["--min-iou 0.69"])
    assert "autoseg remeasure results/mine-2 --device board" in remark
    assert remark not in told["--max-latency 44ms"]
    by = {way.option: way.command for way in elsewhere.relax if len(way.options) == 1}
    assert by["--max-latency"].startswith("autoseg remeasure results/mine --device board")
    assert by["--min-iou"].startswith("autoseg optimize --name mine-2 ")


def test_explanation_of_a_ceiling_that_nothing_meets():
    slow = [evaluation(str(ms), ms, state="too_slow") for ms in (30.0, 20.0)]
    found = explained(*slow)
    assert found.binds == "ceiling" and found.nearest == (slow[1],)
    assert re.search(r"ceiling .*10 ms.* 2 measured .*20 ms \(p90\)$", found.summary)
    assert [*ways(found)] == ["--max-latency 22ms"]
    assert explained(evaluation("a", 20.0, 0.95), device="b").binds == "ceiling"
    neither = explained(evaluation("a", 20.0, 0.8), device="b")
    assert neither.binds == "both" and re.search(r"0\.8000 .*0\.9\b", neither.summary)


@pytest.mark.parametrize("fastest_ms, offered", [(20.0, True), (6750.0, False)])
def test_explanation_offers_more_knobs_only_where_they_could_be_fast_enough(fastest_ms, offered):
    found = explained(evaluation("a", fastest_ms, state="too_slow"), effort="entry")
    assert found.binds == "ceiling"
    assert any(way.option == "--effort" for way in found.relax) is offered


def test_explanation_names_time_where_training_was_cut_off():
    """More time is all that is advised: nothing is known to be out of reach."""
    found = explained(evaluation("a", 5.0, 0.8, epoch=3), evaluation("b", 6.0, state="measured"))
    assert found.binds == "time" and "epoch 3 of 9" in found.summary
    (way,) = found.relax
    assert str(way) == "--budget 16m" and re.search(" 1 untrained, 1 .*epoch 3 of 9", way.gives)
    assert way.command == "autoseg optimize --resume --name mine --budget 16m"
    untrained = explained(evaluation("b", 6.0, state="measured"))
    assert untrained.binds == "time" and "trained" in untrained.summary
    assert [*ways(untrained)] == ["--budget 16m"]
    nothing = explained()
    assert nothing.binds == "time" and [*ways(nothing)] == ["--budget 16m"]


def test_explanation_of_too_little_time_names_enough_to_train_the_best_to_its_end():
    scored = evaluation("a", 5.0, 0.8, epoch=3)
    (score,) = scored.scores
    slow = replace(scored, scores=(replace(score, train_s=360.0),))  # 2 min an epoch
    assert [*ways(explained(slow))] == ["--budget 32m"]


def test_explanation_of_an_interrupted_run_only_resumes_it_while_time_is_left():
    cut_off = evaluation("a", 5.0, 0.8, epoch=3)
    (way,) = explained(cut_off, interrupted=True, budget="1h").relax
    assert way.options == {"--resume": ""}
    assert way.command == "autoseg optimize --resume --name mine"
    assert [*ways(explained(cut_off, interrupted=True))] == ["--budget 16m"]


def test_explanation_of_a_run_limited_by_trials_offers_more_of_them():
    found = explained(evaluation("a", 5.0, 0.8, epoch=3), budget=None, trials=4)
    assert found.binds == "floor" and [*ways(found)] == ["--trials 8", "--min-iou 0.79"]


def test_explanation_offers_more_knobs_only_where_there_are_more():
    asked = {"effort": "entry", "data": "my pictures", "statistic": "p50"}
    low, slow = evaluation("low", 2.0, 0.7), evaluation("slow", 16.0, state="too_slow")
    found = explained(low, slow, **asked)
    assert [*ways(found)] == ["--effort intermediate", "--min-iou 0.69"]
    assert found.relax[0].gives.startswith("turns a, t as well")
    words = shlex.split(found.relax[0].command)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert words[:2] == ["autoseg", "optimize"] and given["--effort"] == "intermediate"
    # Another run, and in all else this one.
    assert given["--name"] == "mine-2" and given["--data"] == "my pictures"
    assert (given["--min-iou"], given["--statistic"]) == ("0.9", "p50")
    assert [*ways(explained(slow, **asked))] == ["--max-latency 18ms", "--effort intermediate"]


def test_explanation_of_feasible_figures_names_waiting_or_uncertainty():
    waits = explained(evaluation("a", 5.0, 0.95))
    assert waits.binds == "time" and re.search(r"^1 .*final check", waits.summary)
    assert [*ways(waits)] == ["--budget 16m"]
    unsure = explained(evaluation("a", 5.0, 0.91, "rejected", wide=0.03, p=0.74))
    assert unsure.binds == "floor" and re.search(r"^1 .*P 0\.74 .*0\.9\b", unsure.summary)
    assert "val" in unsure.notes[0] and "6.2 times" in unsure.notes[0]
    assert [*ways(unsure)] == ["--min-iou 0.88"]
    hopeless = explained(evaluation("a", 5.0, 0.9001, "rejected", wide=0.03, p=0.5))
    assert "times" not in hopeless.notes[0]
    slow = explained(evaluation("a", 9.99, 0.95, "rejected", phase="confirm", p=0.58))
    assert slow.binds == "ceiling" and [*ways(slow)] == ["--max-latency 11ms"]


def test_explanation_counts_failures_and_quotes_the_first():
    failed = [evaluation(n, 5.0, state="failed", error=f"NaN in {n}") for n in "ab"]
    found = explained(*failed, evaluation("c", 40.0, state="too_slow"))
    assert re.search("2 of 3 measured .*10 ms.*: 2 failed$", found.summary)
    assert any(note.endswith("3 candidates: 1 too slow, 2 failed") for note in found.notes)
    assert any(re.search(f"{failed[0].candidate.key}.*NaN in a", n) for n in found.notes)
    nothing = explained(evaluation("a", None, state="failed", error="cannot be exported"))
    assert "measured" in nothing.summary and nothing.nearest == ()
    assert any("cannot be exported" in line for line in nothing.lines())


@pytest.mark.parametrize("floor", [0.001, 0.004])
def test_explanation_offers_no_floor_of_zero(floor):
    assert not ways(explained(evaluation("a", 5.0, floor + 0.005)))


def test_explanation_to_json_has_figures_with_intervals():
    (near,) = explained(evaluation("a", 8.0, 0.87)).to_json()["nearest"]
    assert near["knobs"] == {"name": "a", "resolution": 64} and near["state"] == "scored"
    assert near["statistic"] == "p90"
    assert near["latency_ci95_ms"] == [pytest.approx(7.92), pytest.approx(8.08)]
    assert near["iou_ci95"] == [pytest.approx(0.86), pytest.approx(0.88)]
