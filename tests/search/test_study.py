"""Optuna's study tells what the ledger tells, in Optuna's own words."""

from dataclasses import replace

import optuna
import pytest
from worlds import ASKED, WIDTH, by_key, known, scored, space_of

from autoseg.search.study import StudyMirror
from autoseg.space import Knob

MIXED = Knob("resolution", (128, "96x128", 64), 128, "entry")
KIND = Knob("t", ("thin", 2), "thin", "expert")
SPACE = space_of(MIXED, WIDTH, KIND)


def mirror_in(folder, evaluations=()) -> StudyMirror:
    return StudyMirror(folder, SPACE, "expert", ASKED, declaration={}, evaluations=evaluations)


def trials_in(folder) -> dict[str, optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name=folder.name, storage=storage)
    return {trial.user_attrs["key"]: trial for trial in study.trials}


@pytest.fixture
def told():
    """One evaluation of each end."""
    first = (scored(0.6, 3), scored(0.8, 9))
    last = (*first, scored(0.93, 11, decayed=True), scored(0.92, 11, decayed=True, source="onnx"))
    states = {
        "measured": (), "too_slow": (), "failed": (), "stopped": first, "scored": first,
        "confirmed": last, "struck": last,
    }  # fmt: skip
    candidates = [
        SPACE.candidate(resolution=r, a=a, t=t)
        for r in (128, "96x128", 64) for a in (0.5, 0.25) for t in ("thin", 2)
    ]  # fmt: skip
    evaluations = [
        known(candidate, state, 4.0 if state != "too_slow" else 40.0, *scores)
        for candidate, (state, scores) in zip(candidates, states.items(), strict=False)
    ]
    sure = {"confirmed": 0.97, "struck": 0.6}
    return [replace(e, p_feasible=sure.get(e.state)) for e in evaluations]


def test_each_state_is_optunas_and_sizes_may_be_squares_or_not(tmp_path, told):
    mirror = mirror_in(tmp_path, told)
    open_ends = {e.candidate.key for e in told if e.state in ("measured", "scored")}
    for key, trial in trials_in(tmp_path).items():
        assert (trial.state.name == "RUNNING") == (key in open_ends)
    mirror.finish(told)
    mirror.close()
    trials = trials_in(tmp_path)
    assert [trials[e.candidate.key].state.name for e in told] == [
        "PRUNED", "PRUNED", "FAIL", "PRUNED", "COMPLETE", "COMPLETE", "COMPLETE",
    ]  # fmt: skip
    for e in told:
        trial = trials[e.candidate.key]
        chosen = dict(e.candidate.choices)
        assert {k: str(v) for k, v in trial.params.items()} == {
            name: str(chosen[name]) for name in ("resolution", "a", "t")
        }


def test_a_complete_trial_has_its_rungs_values_and_constraints(tmp_path, told):
    mirror_in(tmp_path, told).close()
    trials = trials_in(tmp_path)
    (done,) = [trials[e.candidate.key] for e in told if e.state == "confirmed"]
    assert done.values == [4.0, 0.92]
    assert done.intermediate_values == {3: 0.6, 9: 0.8, 11: 0.93}
    over = done.system_attrs["constraints"]
    assert over == [4.0 - 10.0, pytest.approx(0.9 - 0.92), pytest.approx(0.9 - 0.97)]


def test_a_continued_run_rebuilds_the_study_and_goes_on(tmp_path, told):
    first = mirror_in(tmp_path, told[:4])
    first.finish(told[:4])
    first.close()
    second = mirror_in(tmp_path, told[:4])
    for e in told[4:]:
        second.hear({"key": e.candidate.key}, by_key(e))
    second.finish(told)
    second.close()
    assert list(trials_in(tmp_path)) == [e.candidate.key for e in told]
