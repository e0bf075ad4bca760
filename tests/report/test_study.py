"""Optuna's study tells what the ledger tells, in Optuna's own words."""

import os
from dataclasses import replace

import optuna
import pytest
from factories import make_evaluation, make_score
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta
from worlds import ASKED, DEPENDENT, WIDTH, by_key, space_of

from autoseg.core.diagnostics import sheet_path
from autoseg.networks.space import Knob
from autoseg.report.dashboard.database import Database, read_only
from autoseg.report.dashboard.study import StudyMirror, artifacts_folder
from autoseg.report.dashboard.texts import StudyOverview

MIXED = Knob("resolution", (128, "96x128", 64), 128, "entry")
KIND = Knob("t", ("thin", 2), "thin", "expert")
SPACE = space_of(MIXED, WIDTH, KIND)


def mirror_in(folder, evaluations=(), overview=StudyOverview) -> StudyMirror:
    return StudyMirror(
        folder, SPACE, "expert", ASKED, declaration={}, evaluations=evaluations, overview=overview
    )


def trials_in(folder) -> dict[str, optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.load_study(study_name=folder.name, storage=storage)
    return {trial.user_attrs["key"]: trial for trial in study.trials}


@pytest.fixture
def told():
    """One evaluation of each end."""
    first = (make_score(0.6, 3), make_score(0.8, 9))
    last = (
        *first,
        make_score(0.93, 11, decayed=True),
        make_score(0.92, 11, decayed=True, source="onnx"),
    )
    states = {
        "measured": (), "too_slow": (), "failed": (), "stopped": first, "scored": first,
        "confirmed": last, "rejected": last,
    }  # fmt: skip
    candidates = [
        SPACE.candidate(resolution=r, a=a, t=t)
        for r in (128, "96x128", 64) for a in (0.5, 0.25) for t in ("thin", 2)
    ]  # fmt: skip
    evaluations = [
        make_evaluation(candidate, state, 4.0 if state != "too_slow" else 40.0, *scores)
        for candidate, (state, scores) in zip(candidates, states.items(), strict=False)
    ]
    sure = {"confirmed": 0.97, "rejected": 0.6}
    return [replace(e, p_feasible=sure.get(e.state)) for e in evaluations]


def test_trial_has_no_parameter_of_an_inactive_knob(tmp_path):
    every = DEPENDENT.candidates("expert")
    evaluations = [make_evaluation(candidate, "too_slow", 40.0) for candidate in every]
    mirror = StudyMirror(
        tmp_path, DEPENDENT, "expert", ASKED, declaration={}, evaluations=evaluations
    )
    mirror.finish(evaluations)
    for trial in trials_in(tmp_path).values():
        assert ("t" in trial.params) == (trial.params["pp"] == 1)


def test_study_has_optuna_states_and_any_size(tmp_path, told):
    mirror = mirror_in(tmp_path, told)
    untested = ("measured", "scored", "confirmed", "rejected")
    open_ends = {e.candidate.key for e in told if e.state in untested}
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


def test_study_trial_has_values_of_rungs_and_constraints(tmp_path, told):
    mirror_in(tmp_path, told).close()
    trials = trials_in(tmp_path)
    (done,) = [trials[e.candidate.key] for e in told if e.state == "confirmed"]
    assert done.values == [4.0, 0.92]
    assert done.intermediate_values == {3: 0.6, 9: 0.8, 11: 0.93}
    over = done.system_attrs["constraints"]
    assert over == [4.0 - 10.0, pytest.approx(0.9 - 0.92), pytest.approx(0.9 - 0.97)]


def test_study_has_iou_on_test_as_soon_as_it_is_read(tmp_path, told):
    mirror = mirror_in(tmp_path)
    for e in told:
        mirror.update({"key": e.candidate.key}, by_key(e))
    (one,) = [e for e in told if e.state == "confirmed"]
    tested = replace(make_score(0.91, 11, decayed=True, source="onnx"), split="test")
    mirror.update({"key": one.candidate.key}, by_key(replace(one, scores=(*one.scores, tested))))
    trial = trials_in(tmp_path)[one.candidate.key]
    assert (trial.state.name, trial.user_attrs["IoU test"]) == ("COMPLETE", 0.91)
    mirror.close()
    states = {t.user_attrs["state"]: t.state.name for t in trials_in(tmp_path).values()}
    assert states["rejected"] == "COMPLETE" and states["scored"] == "RUNNING"


def test_study_of_a_resumed_run_is_rebuilt_and_continued(tmp_path, told):
    first = mirror_in(tmp_path, told[:4])
    first.finish(told[:4])
    first.close()
    second = mirror_in(tmp_path, told[:4])
    for e in told[4:]:
        second.update({"key": e.candidate.key}, by_key(e))
    second.finish(told)
    second.close()
    assert list(trials_in(tmp_path)) == [e.candidate.key for e in told]


def test_study_marks_rejected_and_unconfirmed_as_infeasible(tmp_path, told):
    mirror = mirror_in(tmp_path, told)
    mirror.finish(told)
    mirror.close()
    trials = trials_in(tmp_path)
    met = {
        e.state: max(trials[e.candidate.key].system_attrs["constraints"]) <= 0
        for e in told if e.state in ("confirmed", "rejected", "scored")
    }  # fmt: skip
    assert met == {"confirmed": True, "rejected": False, "scored": False}


def test_study_replaces_the_artifact_of_a_new_contact_sheet(tmp_path, told):
    (one,) = [e for e in told if e.state == "scored"]
    key = one.candidate.key
    sheet = sheet_path(tmp_path, key)
    sheet.parent.mkdir()
    mirror = mirror_in(tmp_path)
    for text in (b"first", b"second"):
        sheet.write_bytes(text)
        os.utime(sheet, ns=(len(text), len(text)))
        mirror.update({"key": key}, by_key(one))
    mirror.close()
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    (trial,) = trials_in(tmp_path).values()
    (meta,) = get_all_artifact_meta(trial, storage=storage)
    assert (meta.filename, meta.mimetype) == (f"{key}.jpg", "image/jpeg")
    store = FileSystemArtifactStore(artifacts_folder(tmp_path))
    assert store.open_reader(meta.artifact_id).read() == b"second"
    assert [p.name for p in artifacts_folder(tmp_path).iterdir()] == [key]


def test_study_failures_of_database_and_figures_do_not_stop_the_run(tmp_path, told, caplog):
    def fails() -> StudyOverview:
        raise ValueError("no figure today")

    mirror = mirror_in(tmp_path, overview=fails)
    mirror.update({"event": "verdict"}, {})
    assert "no figure today" in caplog.text
    mirror._database._connection.close()
    for e in told[:2]:
        mirror.update({"key": e.candidate.key}, by_key(e))
    mirror.finish(told)
    mirror.close()
    assert sum("study.db" in record.getMessage() for record in caplog.records) == 1


def test_study_replaces_a_damaged_database(tmp_path, told):
    (tmp_path / "study.db").write_bytes(b"no database")
    (tmp_path / "study.db-journal").write_bytes(b"of another one")
    mirror_in(tmp_path, told).close()
    assert len(trials_in(tmp_path)) == len(told)


def test_study_reader_sees_a_transaction_complete_or_not_at_all(tmp_path):
    database = Database(tmp_path / "a 'b' ?#%41.db")
    reader = read_only(tmp_path / "a 'b' ?#%41.db")
    with database.transaction():
        study = optuna.create_study(study_name="one", storage=database.storage)
        study.set_user_attr("seen", True)
        assert reader.get_all_studies() == []
    assert reader.get_all_studies()[0].user_attrs == {"seen": True}
    with pytest.raises(optuna.exceptions.StorageInternalError):
        reader.set_study_user_attr(study._study_id, "written", 1)
    database.close()


def test_study_write_passes_an_interrupt_through(tmp_path):
    database = Database(tmp_path / "study.db")
    connection = database.storage.engine.raw_connection().driver_connection
    with pytest.raises(KeyboardInterrupt), database.transaction():
        connection.close()  # as SQLAlchemy does when it comes in the middle of a statement
        raise KeyboardInterrupt


def test_study_of_a_resumed_run_has_its_note_before_the_next_event(tmp_path, told):
    mirror = mirror_in(tmp_path, told, lambda: StudyOverview("2 models meet both"))
    storage = read_only(tmp_path / "study.db")
    assert "2 models meet both" in str(storage.get_study_system_attrs(1))
    mirror.close()
