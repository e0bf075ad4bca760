"""A run's folder survives power cuts, full disks and second processes, and reads back the same."""

import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg.core.errors import AutosegError, DeviceError, InputError
from autoseg.core.records import Candidate, Cost, Measurement, Score
from autoseg.core.serialize import to_json
from autoseg.run.ledger import fold, read_events
from autoseg.run.store import MeasurementCache, Run, read_declaration, write_atomically

FIRST = Candidate.of("toy", {"resolution": 64, "a": 0.5})
OTHER = Candidate.of("toy", {"resolution": 96, "a": 0.5})
MEASURED = Measurement(
    device="pi4",
    phase="screen",
    runtime="onnxruntime 1.20",
    threads=1,
    provider="CPU",
    runs=40,
    warmup=10,
    min_ms=1.0,
    mean_ms=1.1,
    std_ms=0.1,
    p50_ms=1.05,
    p50_ci_ms=(1.0, 1.1),
    p90_ms=1.2,
    p90_ci_ms=(1.1, 1.3),
    p95_ms=None,
    p99_ms=None,
    load_ms=5.0,
    peak_rss_bytes=1000,
    onnx_digest="d",
    taken_at="2026-01-01T00:00:00Z",
)


def scored(iou: float, epoch: int = 3, **facts) -> Score:
    return Score(
        split="val",
        source="torch",
        iou=iou,
        iou_ci95=(iou - 0.1, iou + 0.1),
        class_iou=(None, iou),
        pixel_accuracy=0.9,
        epoch=epoch,
        train_s=1.0,
        seed=0,
        **facts,
    )


def propose(run: Run, candidate: Candidate) -> None:
    cost = to_json(Cost(params=1, macs=2, activation_bytes=3))
    run.record(
        "proposed", candidate, candidate=to_json(candidate), structure=candidate.key, cost=cost
    )


def told(folder: Path) -> Run:
    """A run in which one candidate was trained and rejected, and another was too slow."""
    run = Run.create(folder, {"seed": 0})
    propose(run, FIRST)
    run.record("measured", FIRST, measurement=to_json(MEASURED), onnx_bytes=9, too_slow=False)
    run.record("scored", FIRST, score=to_json(scored(0.8)))
    propose(run, OTHER)
    run.record("measured", OTHER, measurement=to_json(MEASURED), onnx_bytes=9, too_slow=True)
    run.record(
        "rejected", FIRST, score=to_json(scored(0.7, 4, decayed=True)), reason="not sure enough",
        measurement=to_json(MEASURED), onnx_bytes=8, p_feasible=0.5,
    )  # fmt: skip
    return run


def test_what_is_recorded_is_what_is_read_back(tmp_path):
    run = told(tmp_path / "run")
    evaluations = dict(run.evaluations)
    run.close()
    assert [(e.candidate, e.state) for e in evaluations.values()] == [
        (FIRST, "rejected"),
        (OTHER, "too_slow"),
    ]
    rejected = evaluations[FIRST.key]
    assert (rejected.iou, rejected.p_feasible, rejected.error) == (0.7, 0.5, "not sure enough")
    assert (len(rejected.measurements), len(rejected.scores)) == (2, 2)
    assert fold(read_events(run.folder)) == evaluations
    again = Run.open(run.folder)
    assert again.evaluations == evaluations
    assert again.declaration == {"seed": 0}
    again.close()


def test_a_listener_hears_an_event_that_is_on_the_disk_already(tmp_path):
    run = Run.create(tmp_path / "run", {})
    heard = []
    run.listeners.append(lambda event: heard.append((event, read_events(run.folder)[-1])))
    propose(run, FIRST)
    run.close()
    assert [event == on_disk for event, on_disk in heard] == [True]


def test_time_spent_goes_on_where_the_last_session_stopped(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.close()
    line = json.dumps({"event": "verdict", "lines": [], "spent_s": 100.0})
    (run.folder / "ledger.jsonl").write_text(line + "\n")
    again = Run.open(run.folder)
    again.record("searched")
    again.close()
    assert 100 <= read_events(run.folder)[-1]["spent_s"] < 160


@pytest.mark.parametrize("torn", [b'{"event": "scored", "key": "ab', b"{}", b"\0\0\0"])
def test_a_torn_last_line_is_dropped(tmp_path, torn):
    run = told(tmp_path / "run")
    run.close()
    ledger = run.folder / "ledger.jsonl"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + torn)
    assert read_events(run.folder) == run.events
    again = Run.open(run.folder)
    assert again.evaluations == run.evaluations
    again.record("searched")
    again.close()
    assert ledger.read_bytes().startswith(whole)
    assert [e["event"] for e in read_events(run.folder)][-1] == "searched"


def test_what_another_version_wrote_is_told(tmp_path):
    candidate = {**to_json(FIRST), "colour": "red"}
    with pytest.raises(AutosegError, match="no field colour: it was written by another version"):
        fold([{"event": "proposed", "key": FIRST.key, "candidate": candidate, "cost": None}])


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    run = told(tmp_path / "run")
    run.close()
    ledger = run.folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], b"oops\n", *lines[1:]]))
    for read in (read_events, Run.open):
        with pytest.raises(AutosegError, match=r"ledger\.jsonl, line 2"):
            read(run.folder)


@pytest.mark.parametrize("kind", ["promoted", ""])
def test_an_unknown_event_is_refused(tmp_path, kind):
    run = told(tmp_path / "run")
    with pytest.raises(AutosegError, match=f"unknown kind '{kind}'"):
        fold([{"event": kind, "key": FIRST.key}], into=run.evaluations)
    run.close()


def test_an_event_of_a_candidate_that_nobody_proposed_is_refused():
    with pytest.raises(AutosegError, match="before it was proposed"):
        fold([{"event": "stopped", "key": "abc", "reason": "-"}])


def test_a_second_process_on_the_same_run_is_refused(tmp_path):
    run = told(tmp_path / "run")
    code = (
        "import sys, pathlib\nfrom autoseg.run.store import Run\n"
        "try: Run.open(pathlib.Path(sys.argv[1])); print('open')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    def other() -> str:
        command = [sys.executable, "-c", code, str(run.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert other().startswith("InputError another autoseg is working on the run 'run'")
    run.close()
    assert other() == "open\n"


def test_a_run_is_not_begun_twice(tmp_path):
    told(tmp_path / "run").close()
    with pytest.raises(InputError, match="exists already: continue it with --resume"):
        Run.create(tmp_path / "run", {})


def test_a_folder_that_cannot_be_made_is_the_users_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not possible: Not a directory; choose another folder"):
        Run.create(tmp_path / "file" / "run", {})


def test_a_missing_run_names_those_that_are_there(tmp_path):
    told(tmp_path / "monday").close()
    with pytest.raises(InputError, match="no run at .*tuesday; there are: monday"):
        read_declaration(tmp_path / "tuesday")


def test_a_full_disk_stops_the_run_and_what_was_written_stays(tmp_path):
    run = told(tmp_path / "run")
    before = dict(run.evaluations)
    ledger = run.folder / "ledger.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.stat().st_size + 10, hard))
    try:
        for _ in range(2):  # a line that is cut short, and one of which nothing can be written
            with pytest.raises(DeviceError, match="cannot be written .*: fix that first"):
                run.record("stopped", OTHER, reason="-")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.evaluations == before
    run.record("stopped", OTHER, reason="there is room again")
    run.close()
    again = Run.open(run.folder)
    assert again.evaluations == run.evaluations
    assert again.evaluations[OTHER.key].error == "there is room again"
    again.close()


def test_a_run_that_cannot_be_written_is_told_in_one_sentence(tmp_path):
    run = told(tmp_path / "run")
    run.close()
    (run.folder / "lock").unlink()
    (run.folder / "lock").mkdir()
    with pytest.raises(InputError, match="'run' cannot be written in .*Is a directory"):
        Run.open(run.folder)


def test_a_cache_of_measurements_that_cannot_be_written_costs_a_warning_only(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = MeasurementCache(tmp_path / "file" / "measurements.jsonl")
    cache.put("graph on pi4", MEASURED)
    assert cache.get("graph on pi4") == MEASURED
    MeasurementCache(tmp_path).put("graph on pi4", MEASURED)
    said = [record.getMessage() for record in caplog.records]
    assert [line.rpartition(" (")[0].rpartition(": ")[2] for line in said] == [
        "a measurement is not kept for other runs",
        "measurements of other runs are not reused",
        "a measurement is not kept for other runs",
    ]


def test_measurements_are_shared_between_runs(tmp_path):
    path = tmp_path / ".cache" / "measurements.jsonl"
    MeasurementCache(path).put("graph on pi4", MEASURED)
    with path.open("a") as file:
        file.write('{"id": "torn')
    again = MeasurementCache(path)
    assert again.get("graph on pi4") == MEASURED
    assert again.get("graph on pi5") is None


def test_a_file_is_replaced_whole_by_whoever_writes_it_and_names_in_no_encoding_are_escaped(
    tmp_path,
):
    path = tmp_path / "report.html"
    texts = [f"é \udcff {letter * 200_000}" for letter in "ab"]
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda n: write_atomically(path, texts[n % 2]), range(40)))
    whole = path.read_text(encoding="utf-8")
    assert whole in [text.replace("\udcff", "\\udcff") for text in texts]
    with pytest.raises(OSError):
        write_atomically(tmp_path, "a folder is in its place")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
