"""What a run leaves for people to look at: sheets of all that was scored, and where time goes."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import autoseg
from autoseg.core.diagnostics import read_diagnostics, sheet_path, write_diagnostics
from autoseg.run.ledger import read_events
from autoseg.train.contact_sheet import MAX_SHEET_BYTES


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the finished run, to be measured and changed."""
    return Path(shutil.copytree(finished.folder, tmp_path / "results" / "run"))


def again(folder: Path, **changed) -> autoseg.Result:
    asked = {"results": folder.parent, "name": folder.name, "resume": True}
    return autoseg.optimize(**asked, **changed)


class Blind(autoseg.FakeDevice):
    """A device that cannot tell its operators."""

    def nodes(self, onnx, runs=20):
        raise autoseg.CandidateError("no profile here")


class Gone(autoseg.FakeDevice):
    """A board that is lost when all is confirmed."""

    def nodes(self, onnx, runs=20):
        raise autoseg.DeviceError("lost for ever")


class Foreign(autoseg.FakeDevice):
    """A device of somebody's own, from before it was asked for its operators."""

    nodes = None


def test_optimize_draws_a_sheet_of_every_scored_candidate(finished):
    result = autoseg.Result.from_run(finished.folder)
    scored = [e for e in result.evaluations if e.scores]
    assert scored
    for evaluation in scored:
        path = sheet_path(result.files, evaluation.candidate.key)
        assert 5_000 < path.stat().st_size < MAX_SHEET_BYTES
        assert Image.open(path).format == "JPEG"


def test_optimize_records_confusion_and_operator_times_of_front_models(finished):
    result = autoseg.Result.from_run(finished.folder)
    assert result.front
    for evaluation in result.front:
        exhibit = read_diagnostics(result.files, evaluation.candidate.key)
        assert exhibit.onnx_digest == evaluation.measurement.onnx_digest
        (_, extra), (missed, hits) = exhibit.confusion
        assert hits / (hits + extra + missed) == pytest.approx(evaluation.iou)
        assert sum(map(sum, exhibit.confusion)) == 8 * 64 * 96  # val at its own size
        kinds = {each.op: each for each in exhibit.operators}
        assert kinds["Conv"].nodes > 1 and exhibit.operators[0].ms >= exhibit.operators[-1].ms
        assert len(evaluation.measurement.quantiles_ms) == 41


def test_optimize_resumed_does_not_profile_again(run):
    result = autoseg.Result.from_run(run)
    keys = [e.candidate.key for e in result.front]
    before = [(run / "diagnostics" / f"{key}.json").stat().st_mtime_ns for key in keys]
    again(run)
    assert [(run / "diagnostics" / f"{key}.json").stat().st_mtime_ns for key in keys] == before


def test_optimize_resumed_adds_missing_diagnostics(run):
    key = autoseg.Result.from_run(run).front[0].candidate.key
    whole = read_diagnostics(run, key)
    shutil.rmtree(run / "diagnostics")
    again(run)
    made = read_diagnostics(run, key)
    assert (made.confusion, made.onnx_digest) == (whole.confusion, whole.onnx_digest)
    assert made.operators and sheet_path(run, key).exists()


def test_remeasure_writes_diagnostics_of_its_device(run):
    result = autoseg.remeasure(run, device=autoseg.FakeDevice(5.0, name="b"))
    key = result.front[0].candidate.key
    assert result.files == run / "devices" / "b" and sheet_path(result.files, key).exists()
    exhibit = read_diagnostics(result.files, key)
    assert sum(each.ms for each in exhibit.operators) == pytest.approx(5.0)
    assert exhibit.confusion == read_diagnostics(run, key).confusion


@pytest.mark.parametrize(
    ("device", "said"),
    [(Blind, "no profile here"), (Gone, "lost for ever"), (Foreign, "not callable")],
)
def test_remeasure_on_a_device_without_profiling_keeps_its_results(device, said, run, caplog):
    result = autoseg.remeasure(run, device=device(5.0, name="b"))
    key = result.front[0].candidate.key
    exhibit = read_diagnostics(result.files, key)
    assert exhibit.operators == () and exhibit.confusion and said in caplog.text
    assert result.bundle(key).is_dir()


def test_optimize_without_time_skips_diagnostics_only(run):
    """What a budget leaves is for the files first."""
    key = autoseg.Result.from_run(run).front[0].candidate.key
    bare = read_diagnostics(run, key)
    write_diagnostics(run, key, type(bare)(bare.onnx_digest, bare.confusion))
    rewritten = [e for e in read_events(run) if e["event"] != "finished"]
    (run / "ledger.jsonl").write_text("".join(json.dumps(e) + "\n" for e in rewritten))
    assert again(run, budget="3s").front
    assert read_diagnostics(run, key).operators == ()
    assert again(run).front and read_diagnostics(run, key).operators
