"""A run's folder survives power cuts, full disks and second processes, and reads back the same."""

import json
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factories import make_candidate, make_cost, make_measurement, make_score

from autoseg.core.errors import AutosegError, DeviceError, InputError
from autoseg.core.files import write_atomically
from autoseg.core.records import Candidate
from autoseg.core.serialize import to_json
from autoseg.run.ledger import fold, read_events
from autoseg.run.store import MeasurementCache, Run, read_declaration

FIRST, OTHER = make_candidate(a=0.5), make_candidate(resolution=96, a=0.5)
MEASURED = make_measurement(1.05, p90_ms=1.2, p95_ms=None, p99_ms=None)


def propose(run: Run, candidate: Candidate) -> None:
    cost = to_json(make_cost())
    run.record(
        "proposed", candidate, candidate=to_json(candidate), structure=candidate.key, cost=cost
    )


def told(folder: Path) -> Run:
    """A run in which one candidate was trained and rejected, and another was too slow."""
    run = Run.create(folder, {"seed": 0})
    propose(run, FIRST)
    run.record("measured", FIRST, measurement=to_json(MEASURED), onnx_bytes=9, too_slow=False)
    run.record("scored", FIRST, score=to_json(make_score(0.8)))
    propose(run, OTHER)
    run.record("measured", OTHER, measurement=to_json(MEASURED), onnx_bytes=9, too_slow=True)
    run.record(
        "rejected", FIRST, score=to_json(make_score(0.7, 4, decayed=True)), reason="unsure",
        measurement=to_json(MEASURED), onnx_bytes=8, p_feasible=0.5,
    )  # fmt: skip
    return run


def test_run_record_is_read_back(tmp_path):
    run = told(tmp_path / "run")
    evaluations = dict(run.evaluations)
    run.close()
    assert [(e.candidate, e.state) for e in evaluations.values()] == [
        (FIRST, "rejected"),
        (OTHER, "too_slow"),
    ]
    rejected = evaluations[FIRST.key]
    assert (rejected.iou, rejected.p_feasible, rejected.error) == (0.7, 0.5, "unsure")
    assert (len(rejected.measurements), len(rejected.scores)) == (2, 2)
    assert fold(read_events(run.folder)) == evaluations
    again = Run.open(run.folder)
    assert again.evaluations == evaluations
    assert again.declaration == {"seed": 0}
    again.close()


def test_run_listener_hears_an_event_after_it_is_on_disk(tmp_path):
    run = Run.create(tmp_path / "run", {})
    heard = []
    run.listeners.append(lambda event: heard.append((event, read_events(run.folder)[-1])))
    propose(run, FIRST)
    run.close()
    assert [event == on_disk for event, on_disk in heard] == [True]


def test_run_spent_time_continues_from_the_last_session(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.close()
    line = json.dumps({"event": "verdict", "lines": [], "spent_s": 100.0})
    (run.folder / "ledger.jsonl").write_text(line + "\n")
    again = Run.open(run.folder)
    again.record("searched")
    again.close()
    assert 100 <= read_events(run.folder)[-1]["spent_s"] < 160


def test_run_counts_the_time_before_it_was_opened(tmp_path):
    run = Run.create(tmp_path / "run", {})
    run.count_from(time.monotonic() - 100)
    assert run.record("searched")["spent_s"] >= 100 and not run.resumed
    run.close()
    again = Run.open(run.folder)
    assert again.resumed and again.spent_s >= 100
    again.close()


@pytest.mark.parametrize("torn", [b'{"event": "scored", "key": "ab', b"{}", b"\0\0\0"])
def test_run_open_drops_a_truncated_last_line(tmp_path, torn):
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


def test_fold_refuses_fields_of_another_version(tmp_path):
    candidate = {**to_json(FIRST), "colour": "red"}
    with pytest.raises(AutosegError, match="field colour.*version"):
        fold([{"event": "proposed", "key": FIRST.key, "candidate": candidate, "cost": None}])


def test_run_open_names_a_damaged_line_in_the_middle(tmp_path):
    run = told(tmp_path / "run")
    run.close()
    ledger = run.folder / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join([lines[0], b"oops\n", *lines[1:]]))
    for read in (read_events, Run.open):
        with pytest.raises(AutosegError, match=r"ledger\.jsonl, line 2"):
            read(run.folder)


@pytest.mark.parametrize("kind", ["promoted", ""])
def test_fold_refuses_an_unknown_event(tmp_path, kind):
    run = told(tmp_path / "run")
    with pytest.raises(AutosegError, match=f"unknown kind '{kind}'"):
        fold([{"event": kind, "key": FIRST.key}], into=run.evaluations)
    run.close()


def test_fold_refuses_an_event_of_an_unproposed_candidate():
    with pytest.raises(AutosegError, match="abc .*proposed"):
        fold([{"event": "stopped", "key": "abc", "reason": "-"}])


def test_run_open_refuses_a_second_process(tmp_path):
    run = told(tmp_path / "run")
    code = (
        "import sys, pathlib\nfrom autoseg.run.store import Run\n"
        "try: Run.open(pathlib.Path(sys.argv[1])); print('open')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    def other() -> str:
        command = [sys.executable, "-c", code, str(run.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert re.match("InputError .*'run'", other())
    run.close()
    assert other() == "open\n"


def test_run_create_refuses_an_existing_run(tmp_path):
    told(tmp_path / "run").close()
    with pytest.raises(InputError, match="run.*--resume"):
        Run.create(tmp_path / "run", {})


def test_run_create_in_an_impossible_folder_raises_input_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Not a directory"):
        Run.create(tmp_path / "file" / "run", {})


def test_read_declaration_of_a_missing_run_lists_the_existing(tmp_path):
    told(tmp_path / "monday").close()
    with pytest.raises(InputError, match="tuesday.*monday"):
        read_declaration(tmp_path / "tuesday")


def test_run_record_on_a_full_disk_stops_and_keeps_what_was_written(tmp_path):
    run = told(tmp_path / "run")
    before = dict(run.evaluations)
    ledger = run.folder / "ledger.jsonl"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ledger.stat().st_size + 10, hard))
    try:
        for _ in range(2):  # a line that is cut short, and one of which nothing can be written
            with pytest.raises(DeviceError, match=re.escape(str(run.folder))):
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


def test_run_open_of_an_unwritable_run_raises_input_error(tmp_path):
    run = told(tmp_path / "run")
    run.close()
    (run.folder / "lock").unlink()
    (run.folder / "lock").mkdir()
    with pytest.raises(InputError, match="'run' .*Is a directory"):
        Run.open(run.folder)


def test_measurement_cache_that_cannot_be_written_only_warns(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = MeasurementCache(tmp_path / "file" / "measurements.jsonl")
    cache.put("graph on pi4", MEASURED)
    assert cache.get("graph on pi4") == MEASURED
    MeasurementCache(tmp_path).put("graph on pi4", MEASURED)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    assert all(str(tmp_path) in record.getMessage() for record in caplog.records)


def test_measurement_cache_is_shared_between_runs(tmp_path):
    path = tmp_path / ".cache" / "measurements.jsonl"
    MeasurementCache(path).put("graph on pi4", MEASURED)
    with path.open("a") as file:
        file.write('{"id": "torn')
    again = MeasurementCache(path)
    assert again.get("graph on pi4") == MEASURED
    assert again.get("graph on pi5") is None


def test_write_atomically_replaces_the_whole_file_and_escapes_names_in_no_encoding(
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
