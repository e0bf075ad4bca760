"""The command line: each fault has its own message and exit code, and stdout is for the result."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from bundles import bright_pixels
from PIL import Image

import autoseg
from autoseg.cli import main
from autoseg.core.records import Evaluation
from autoseg.core.serialize import from_json
from autoseg.run.ledger import read_events


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working folder, of somebody whose home is empty too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def spoiled(tiny, here):
    """A copy of the pictures, to be damaged."""
    return Path(shutil.copytree(tiny.data, here / "spoiled"))


def refused(called, here: Path, *said: str) -> None:
    assert called.code == 2, called.stderr
    for text in said:
        assert re.search(text, called.stderr)
    assert called.stderr.startswith("autoseg: ")
    assert called.stdout == "" and "Traceback" not in called.stderr
    assert not (here / "results").exists()


BAD_VALUES = {
    "IoU as a percentage": ({"min_iou": 95}, r"--min-iou .*got 95\b.*0\.95"),
    "IoU of nothing": ({"min_iou": 0}, "--min-iou .*0 and 1, got 0"),
    "IoU that is no number": ({"min_iou": "high"}, "--min-iou"),
    "latency without unit": ({"max_latency": "33"}, "--max-latency .*got '33'.*33ms"),
    "latency of nothing": ({"max_latency": "0ms"}, "--max-latency .*got '0ms'"),
    "latency in words": ({"max_latency": "fast"}, "--max-latency .*33ms"),
    "budget of 0": ({"budget": "0"}, "--budget"),
    "budget of 0 minutes": ({"budget": "0m"}, "--budget .*got '0m'"),
    "unknown space": ({"space": "fast_scn"}, "fast_scnn"),
    "unknown effort": ({"effort": "exprt"}, "got 'exprt'.*'expert'"),
    "unknown device": ({"device": "lokal"}, "lokal"),
    "unknown sampler": ({"sampler": "nsga"}, "got 'nsga'.*'nsga3'"),
    "unknown pool": ({"pool": "slurm"}, "--pool .*HOST:PORT.*got 'slurm'"),
    "unknown statistic": ({"statistic": "p42"}, "--statistic .*p50, p90"),
    "unknown latency": ({"latency": "camera"}, "--latency .*model, frame, got 'camera'"),
    "frame of one side": ({"frame": "1920"}, "--frame .*WIDTHxHEIGHT.*1920x1080.*got '1920'"),
    "frame of nothing": ({"frame": "0x5"}, "--frame .*got '0x5'"),
    "frame of no camera": ({"frame": "99999x99999"}, "--frame .*megapixels.*got '99999x99999'"),
    "no trials": ({"trials": 0}, "--trials .*1, got 0"),
    "no workers": ({"workers": 0}, "--workers .*1, got 0"),
    "negative seed": ({"seed": -1}, "--seed .*0, got -1"),
    "name with slashes": ({"name": "../up"}, "--name .*slash"),
    "unknown recipe": ({"recipe": {"speed": 3}}, "recipe.*speed.*schedule"),
    "missing folder": ({"data": "nowhere"}, "nowhere"),
    "unknown option": ({"min_iuo": 0.9}, "--min-iuo"),
    "unknown format": ({"format": "coc"}, "--format .*voc, cityscapes"),
    "format that it is not": ({"format": "voc"}, "PASCAL VOC"),
    "missing remap": ({"remap": "no.yaml"}, "no.yaml: .*UTF-8"),
    "no expression": ({"group_pattern": "("}, "--group-pattern .*regular expression"),
    "two kinds of group": ({"group_pattern": ".", "group_column": "c"}, "--group-"),
    "no folder to remap": ({"data": None, "remap": "r.yaml"}, "--data"),
    "nothing to resume": ({"resume": ""}, "--resume"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_VALUES)
def test_optimize_refuses_a_bad_value_with_option_and_value(case, tiny, here, autoseg_command):
    changed, said = BAD_VALUES[case]
    arguments = [word for word in tiny.arguments(**changed) if word]
    refused(autoseg_command(*arguments), here, said)


def test_optimize_refuses_an_impossible_result_folder(tiny, here, autoseg_command):
    (here / "file").touch()
    called = autoseg_command(*tiny.arguments(results="file/results"))
    refused(called, here, "Not a directory.*--results")


def augmentation(path: Path, **crop: int) -> None:
    kinds = [{"__class_fullname__": "HorizontalFlip", "p": 0.5}]
    kinds += [{"__class_fullname__": "RandomCrop", "p": 0.01, **crop}] if crop else []
    compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": kinds}
    path.write_text(json.dumps({"transform": compose}))


def test_optimize_refuses_an_augmentation_that_cannot_be_used(tiny, here, autoseg_command):
    augmentation(here / "flip.json")
    augmentation(here / "crop.json", height=64, width=64)
    asked = tiny.arguments(augment="crop.json", recipe={"rungs": [1, 2]})
    refused(autoseg_command(*asked), here, r"crop.json.*uint8 \(96, 96, 3\)")
    asked = tiny.arguments(augment="no.json", recipe={})
    refused(autoseg_command(*asked), here, "no.json.*JSON")
    refused(autoseg_command(*tiny.arguments(augment="flip.json")), here, "augment=false")
    asked = ["data", "preview", str(tiny.data), "--augment", "flip.json"]
    refused(autoseg_command(*asked), here, "--augment needs --augmented")
    asked += ["--augmented", "--resolution", "96", "-o", "sheet.png"]
    assert autoseg_command(*asked).code == 0 and (here / "sheet.png").exists()


def test_optimize_refuses_a_recipe_without_a_value(tiny, here, autoseg_command):
    called = autoseg_command(*tiny.arguments(), "--recipe", "augment")
    refused(called, here, "--recipe .*name=value.*'augment'")


def test_optimize_refuses_an_empty_folder(tiny, here, autoseg_command):
    (here / "empty").mkdir()
    called = autoseg_command(*tiny.arguments(data="empty"))
    refused(called, here, "empty", "images")


def test_optimize_and_data_check_report_all_faults_of_the_data(
    spoiled, tiny, here, autoseg_command
):
    (spoiled / "classes.txt").write_text("background\nobject\n")
    mask = spoiled / "masks" / "train" / "train0.png"
    Image.fromarray(np.full((64, 96), 7, np.uint8)).save(mask)
    Image.new("RGB", (40, 30)).save(spoiled / "images" / "val" / "val1.png")
    (spoiled / "images" / "test" / "test0.png").unlink()
    picture = Image.open(spoiled / "images" / "train" / "train3.png")
    picture.save(spoiled / "images" / "train" / "train3.jpg")
    (spoiled / "images" / "train" / "train3.png").unlink()
    jpeg = spoiled / "images" / "train" / "train3.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:700])
    faults = [
        r"masks/train/train0\.png: .*\b7\b.* 2 classes",
        r"images/val/val1\.png .*40x30 .*masks/val/val1\.png .*96x64",
        r"images/train/train3\.jpg: ",
        "test0",
    ]
    called = autoseg_command(*tiny.arguments(data=spoiled))
    refused(called, here, *faults)
    checked = autoseg_command("data", "check", str(spoiled))
    assert checked.code == 2
    for fault in faults:
        assert re.search(fault, checked.stderr)
    told = [line.removeprefix("  - ") for line in called.stderr.splitlines()[1:]]
    assert told == [line.removeprefix("fault: ") for line in checked.stderr.splitlines()]


def test_data_check_prints_format_splits_and_classes(tiny, autoseg_command):
    called = autoseg_command("data", "check", str(tiny.data))
    assert (called.code, called.stderr) == (0, "")
    for facts in (
        f"^{tiny.data}: .*plain .*images/ .*masks/",
        "^pairs: train 8, val 8, test 2$",
        r"^sizes .*: 96x64 \(18\)$",
    ):
        assert re.search(facts, called.stdout, re.MULTILINE), facts
    assert "background" in called.stdout and "object 23 %" in called.stdout


def test_data_check_applies_a_remap(tiny, here, autoseg_command):
    (here / "remap.yaml").write_text("box: object\nfloor: rest\n")
    command = ["data", "check", str(tiny.data), "--group-pattern", r"\D+", "--remap"]
    called = autoseg_command(*command, "remap.yaml")
    assert called.code == 0, called.stderr
    assert ": box 23 %, floor 77 %\n" in called.stdout
    assert re.search(r"\bval\b.* group, val", called.stderr)
    (here / "remap.yaml").write_text("box: objct\nfloor: [background, 7]\n")
    told = autoseg_command(*command, "remap.yaml")
    assert (told.code, told.stdout) == (2, "")
    patterns = (
        r"autoseg: remap\.yaml:1: box: .*'objct'.*'object'.* 0 background, 1 object$",
        r"remap\.yaml:1: .*: object.*`rest`",
        r"remap\.yaml:2: floor: .*\b7\b.* 0 background, 1 object$",
    )
    assert all(re.match(*pair) for pair in zip(patterns, told.stderr.splitlines(), strict=True))


def test_autoseg_has_help_and_refuses_an_unknown_command(autoseg_command):
    called = autoseg_command("--help")
    assert (called.code, called.stderr) == (0, "")
    assert "optimize" in called.stdout
    wrong = autoseg_command("optimise")
    assert wrong.code == 2 and "'optimise'" in wrong.stderr


def test_autoseg_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "autoseg.cli", "spaces"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "fast_scnn" in done.stdout.split()


def test_spaces_prints_knobs_and_counts(tiny, autoseg_command):
    called = autoseg_command("spaces", "fast_scnn")
    assert called.code == 0
    assert "candidates: entry 7, intermediate 105, expert 1260" in called.stdout
    own = autoseg_command("spaces", str(tiny.space))
    assert "candidates: entry 2, intermediate 4, expert 4" in own.stdout
    assert autoseg_command("spaces", "nothing").code == 2


def test_optimize_json_of_a_finished_run_exits_0_and_prints_only_json(finished):
    assert finished.called.code == 0, finished.called.stderr
    told = json.loads(finished.called.stdout)
    assert told["run"] == str(finished.folder)
    assert told["misses"] == [] and told["explanation"] is None and told["searched"]
    assert re.match(r"\d models? .*100 ms .*IoU 0\.4 .*local", told["headline"])
    assert [from_json(Evaluation, e).state for e in told["front"]] == ["confirmed"] * len(
        told["front"]
    )
    on_disk = json.loads((finished.folder / "front.json").read_text())
    assert {name: told[name] for name in on_disk} == on_disk


def test_optimize_progress_has_plain_lines_for_every_step(finished):
    lines = finished.called.stderr.splitlines()
    assert lines[0].startswith("[0:0") and "seed 0" in lines[0]
    text = finished.called.stderr
    for said in (
        "verdict", "IoU", "on val after 4 epochs", "decayed", "confirming", " confirmed: p90 ",
    ):  # fmt: skip
        assert said in text
    assert "Traceback" not in text


def test_front_prints_a_run_as_table_csv_and_json(finished, autoseg_command):
    run = str(finished.folder)
    table = autoseg_command("front", run)
    assert (table.code, table.stderr) == (0, "")
    result = autoseg.Result.from_run(finished.folder)
    for evaluation in result.front:
        assert evaluation.candidate.key in table.stdout
    assert "baseline" in table.stdout and f"files: {run}/" in table.stdout
    rows = list(csv.DictReader(io.StringIO(autoseg_command("front", run, "--csv").stdout)))
    assert [row["key"] for row in rows] == [e.candidate.key for e in result.front]
    assert [float(row["iou_val"]) for row in rows] == [e.iou for e in result.front]
    told = json.loads(autoseg_command("front", run, "--json").stdout)
    assert told == json.loads(finished.called.stdout)


@pytest.mark.parametrize("how", ["fastest", "accurate", "balanced"])
def test_front_pick_is_on_the_front_and_its_bundle_exists(how, finished, autoseg_command):
    called = autoseg_command("front", str(finished.folder), "--pick", how)
    chosen = autoseg.Result.from_run(finished.folder).pick(how)
    key, _, why_and_where = called.stdout.partition(" ")
    assert key == chosen.candidate.key
    bundle = Path(why_and_where.splitlines()[-1])
    assert (bundle / "model.onnx").is_file()
    as_json = autoseg_command("front", str(finished.folder), "--pick", how, "--json")
    told = json.loads(as_json.stdout)
    assert from_json(Evaluation, told["evaluation"]) == chosen
    assert (told["schema"], told["pick"], told["key"]) == (1, how, key)
    assert told["bundle"] == str(bundle) and told["reason"] in called.stdout


def test_json_error_is_one_object_on_stdout(here, autoseg_command):
    gone = autoseg_command("front", "nowhere", "--json")
    said = gone.stderr.removeprefix("autoseg: ").rstrip("\n")
    error = {"kind": "InputError", "message": said}
    assert json.loads(gone.stdout) == {"schema": 1, "error": error, "exit_code": 2}
    usage = json.loads(autoseg_command("front", "--bogus", "--json").stdout)
    assert usage["error"]["kind"] == "InputError" and "--bogus" in usage["error"]["message"]
    lost = autoseg_command("devices", "check", "nobody@127.0.0.1:1", "--json")
    told = json.loads(lost.stdout)
    assert (lost.code, told["exit_code"], told["error"]["kind"]) == (1, 1, "DeviceError")


def test_optimize_json_of_an_interrupted_run_contains_the_confirmed_front(
    tiny, tmp_path, autoseg_command
):
    arguments = tiny.arguments(results=tmp_path, name="run", min_iou=0.05)
    called = ended(tmp_path / "run", "scored", None, autoseg_command, *arguments, "--json")
    told = json.loads(called.stdout)
    assert (called.code, told["exit_code"], told["error"]["kind"]) == (130, 130, "Interrupted")
    assert "--resume --name run" in told["error"]["message"]
    assert told["front"] and re.match(r"interrupted: 1 model", told["headline"])
    assert told["status"] == "interrupted" and told["resume"] in told["error"]["message"]


def test_evaluate_and_measure_escape_class_names_and_board_text(tiny, tmp_path, autoseg_command):
    data = Path(shutil.copytree(tiny.data, tmp_path / "boxes"))
    hostile = "[bold]x[/] :dog: \x1b[31m\x07"
    (data / "classes.txt").write_text(f"back<b>ground\n{hostile}\n")
    called = autoseg_command("data", "check", str(data))
    shown = called.stdout + called.stderr
    assert "[bold]x[/] :dog:" in shown and not {"\x1b", "\x07"} & {*shown}
    told = autoseg_command("data", "check", str(data), "--json").stdout
    assert not {"\x1b", "\x07"} & {*told}


def test_front_refuses_an_unknown_pick_and_run(finished, here, autoseg_command):
    other = autoseg_command("front", str(finished.folder), "--pick", "best")
    refused(other, here, "accurate, balanced, fastest, got 'best'")
    refused(autoseg_command("front", "nowhere"), here, "results/nowhere")
    refused(autoseg_command("front", "out/demo"), here, "out/demo")
    there = autoseg_command("front", str(finished.folder.with_name("other")))
    refused(there, here, f": {finished.folder.name}$")


def test_front_finds_a_run_by_name_under_results(finished, monkeypatch, autoseg_command):
    monkeypatch.chdir(finished.folder.parents[1])
    assert autoseg_command("front", finished.folder.name).code == 0


def test_optimize_dry_run_of_a_trained_run_prints_the_resume_command(
    finished, tmp_path, autoseg_command
):
    shutil.copytree(finished.folder, tmp_path / "run")
    asked = ["optimize", "--resume", "--results", str(tmp_path), "--dry-run", "--budget", "2h"]
    called = autoseg_command(*asked)
    assert called.code == 0
    command = f"autoseg optimize --resume --name run --budget 2h --results {tmp_path}"
    assert called.stdout.splitlines()[-1].endswith(command)


def ended(folder: Path, kind: str, on: str | None, autoseg_command, *arguments: str):
    """What a command says that gets SIGTERM as soon as the ledger has an event of a kind."""

    def told() -> bool:
        return any((e["event"], e.get("on")) == (kind, on) for e in read_events(folder))

    def end() -> None:
        while waiting and not told():
            time.sleep(0.002)
        if waiting:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

    waiting, before = [True], signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    called = autoseg_command(*arguments)
    waiting.clear()
    ending.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, before)
    return called


def test_optimize_sigterm_in_the_survey_prints_the_resume_command(tiny, tmp_path, autoseg_command):
    arguments = tiny.arguments(results=tmp_path, name="run")
    called = ended(tmp_path / "run", "proposed", None, autoseg_command, *arguments)
    assert called.code == 130 and "Traceback" not in called.stderr
    assert re.search("interrupted.*autoseg optimize --resume --name run", called.stderr)


def test_remeasure_sigterm_prints_the_resume_command(finished, tmp_path, autoseg_command):
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    (tmp_path / "b.yaml").write_text("{name: b, kind: local}")
    arguments = ["remeasure", str(folder), "--device", str(tmp_path / "b.yaml")]
    called = ended(folder, "measured", "b", autoseg_command, *arguments)
    assert called.code == 130 and "Traceback" not in called.stderr
    assert re.search(f"interrupted.*autoseg remeasure {folder}", called.stderr)


def test_evaluate_gives_the_test_iou_of_the_ledger(finished, tiny, here, autoseg_command):
    result = autoseg.Result.from_run(finished.folder)
    for evaluation in result.front:
        model = result.bundle(evaluation.candidate.key) / "model.onnx"
        command = ["evaluate", str(model), "--data", str(tiny.data), "--json"]
        told = json.loads(autoseg_command(*command).stdout)
        score = evaluation.score("test")
        assert (told["iou"], tuple(told["class_iou"])) == (score.iou, score.class_iou)
        assert told["iou_of"] == score.iou_of == "object, the foreground"
        on_val = json.loads(autoseg_command(*command, "--split", "val").stdout)
        assert on_val["iou"] == evaluation.iou
    assert not (here / "results").exists() and (here / "home" / ".cache" / "autoseg").is_dir()


def test_predict_and_the_bundle_script_agree_to_the_pixel(finished, here, autoseg_command):
    result = autoseg.Result.from_run(finished.folder)
    bundle = result.bundle(result.pick("accurate").candidate.key)
    rng = np.random.default_rng(1)
    for name, hw in (("wide.png", (70, 211)), ("tall.jpg", (157, 90))):
        noise = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        noise.resize(hw[::-1], Image.Resampling.BICUBIC).save(here / name)
    called = autoseg_command(
        "predict", str(bundle / "model.onnx"), "wide.png", "tall.jpg", "-o", "out"
    )
    assert called.code == 0, called.stderr
    assert called.stdout.split() == ["out/wide.png", "out/tall.png"]
    command = [sys.executable, str(bundle / "predict.py"), "wide.png", "tall.jpg", "-o", "theirs"]
    subprocess.run(command, check=True, capture_output=True)
    found = set()
    for name, size in (("wide", (211, 70)), ("tall", (90, 157))):
        ours = Image.open(here / "out" / f"{name}.png")
        theirs = Image.open(here / "theirs" / f"{name}.png")
        assert ours.size == size
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
        found |= set(np.unique(np.asarray(ours)).tolist())
    assert found <= {0, 1}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_predict_accepts_any_picture_name_and_escapes_it(here, encoding):
    model = bright_pixels(here / "model.onnx", 3)
    names = ["ö.png", os.fsdecode(b"half\xff.png"), "\x1b[31mred.png"]
    for name in names:
        Image.new("RGB", (64, 64)).save(here / name)
    (here / "\x1b[2Jno.png").write_text("no picture")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["predict", str(model), *names, "\x1b[2Jno.png"])
    said = [stream.detach().getvalue().decode(encoding) for stream in (out, err)]
    assert ended.value.code == 2 and "no.png" in said[1]
    assert len(said[0].splitlines()) == 3 and "\x1b" not in "".join(said)
    assert sorted(path.name for path in (here / "masks").iterdir()) == sorted(names)


def test_predict_never_overwrites_a_picture_or_a_mask(finished, here, autoseg_command):
    result = autoseg.Result.from_run(finished.folder)
    model = str(result.bundle(result.front[0].candidate.key) / "model.onnx")
    (here / "a").mkdir()
    for path in ("one.png", "a/one.jpg"):
        Image.new("RGB", (64, 64)).save(here / path)
    before = (here / "one.png").read_bytes()
    over = autoseg_command("predict", model, "one.png", "-o", ".")
    refused(over, here, "one.png")
    refused(autoseg_command("predict", model, "one.png", "a/one.jpg"), here, "one.png")
    assert (here / "one.png").read_bytes() == before
    assert not (here / "masks").exists()


@pytest.mark.parametrize("command", ["predict", "evaluate", "measure"])
def test_predict_evaluate_and_measure_refuse_a_file_that_is_no_model(
    command, here, autoseg_command
):
    (here / "model.onnx").write_text("not a model")
    Image.new("RGB", (64, 64)).save(here / "p.png")
    more = ["p.png"] if command == "predict" else []
    refused(autoseg_command(command, "model.onnx", *more), here, "model.onnx")
    refused(autoseg_command(command, "gone.onnx", *more), here, "gone.onnx")


def test_evaluate_refuses_a_model_of_other_classes(tiny, here, autoseg_command):
    import onnx.parser

    text = """<ir_version: 9, opset_import: ["": 18]>
    seven (uint8[1,64,64,3] frame) => (uint8[1,64,64] classes) {
        row = ReduceMax <keepdims: int = 0> (frame, axes)
        classes = Max (row, seven)
    }"""
    text = text.replace("}", "}").replace(
        "row = ", "axes = Constant <value_ints = [3]> ()\n row = "
    )
    text = text.replace("classes = Max", "seven = Constant <value = uint8 {7}> ()\n classes = Max")
    onnx.save(onnx.parser.parse_model(text), here / "seven.onnx")
    called = autoseg_command("evaluate", "seven.onnx", "--data", str(tiny.data), "--split", "val")
    assert called.code == 2
    assert "background, object" in called.stderr


def test_measure_times_a_model_of_autoseg(finished, autoseg_command):
    result = autoseg.Result.from_run(finished.folder)
    model = result.bundle(result.front[0].candidate.key) / "model.onnx"
    called = autoseg_command("measure", str(model), "--max-time", "0.3s", "--json")
    assert called.code == 0
    told = json.loads(called.stdout)
    assert told["runs"] >= 1 and told["p50_ms"] > 0
    assert told["onnx_digest"] == read_digest(finished.folder, result.front[0].candidate.key)


def test_measure_frames_gives_both_latencies_and_the_parts(finished, autoseg_command):
    result = autoseg.Result.from_run(finished.folder)
    model = str(result.bundle(result.front[0].candidate.key) / "model.onnx")
    command = ("measure", model, "--max-time", "0.3s", "--frame", "320x240")
    told = json.loads(autoseg_command(*command, "--latency", "frame", "--json").stdout)
    assert told["latency"] == "frame" and told["frame"]["hw"] == [240, 320]
    assert told["beside"]["p50_ms"] > 0 and told["frame"]["resize_ms"] > 0
    shown = autoseg_command(*command).stdout
    for figure in ("latency +model", "frame +320x240", "frame_p50_ms", "resize_back_ms"):
        assert re.search(rf"^ ?{figure} ", shown, re.M), figure


def test_measure_refuses_frames_without_a_size_or_of_a_foreign_model(
    finished, here, autoseg_command
):
    import onnx.parser

    text = """<ir_version: 9, opset_import: ["": 18]>
    plain (float[1,3,64,64] x) => (float[1,3,64,64] y) { y = Relu (x) }"""
    onnx.save(onnx.parser.parse_model(text), here / "plain.onnx")
    refused(
        autoseg_command("measure", "plain.onnx", "--frame", "320x240"), here, "plain.onnx.*--f"
    )
    refused(autoseg_command("measure", "plain.onnx", "--latency", "frame"), here, "--frame 1920x")
    refused(autoseg_command("measure", "plain.onnx", "--frame", "0x9"), here, "--frame .*0x9")


def read_digest(folder: Path, key: str) -> str:
    confirmed = [e for e in read_events(folder) if e["event"] == "confirmed" and e["key"] == key]
    return confirmed[-1]["measurement"]["onnx_digest"]


def test_optimize_refuses_to_restart_a_finished_run_and_resume_repeats_nothing(
    finished, tiny, tmp_path, autoseg_command
):
    folder = Path(shutil.copytree(finished.folder.parent, tmp_path / "results"))
    folder /= finished.folder.name
    again = autoseg_command(*tiny.arguments(results=folder.parent, name=folder.name))
    assert again.code == 2
    assert folder.name in again.stderr and "--resume" in again.stderr
    before = read_events(folder)
    resumed = autoseg_command("optimize", "--resume", "--results", str(folder.parent), "--json")
    assert resumed.code == 0, resumed.stderr
    events = read_events(folder)
    assert [e["event"] for e in events[len(before) :]] == ["pool", "finished"]
    assert json.loads(resumed.stdout)["front"] == json.loads(finished.called.stdout)["front"]
    other = autoseg_command("optimize", "--resume", "--results", str(folder.parent), "--seed", "5")
    assert other.code == 2
    assert re.search(r"seed=0\b.*--resume .*\b5\b", other.stderr)
    other = autoseg_command(
        "optimize", "--resume", "--results", str(folder.parent), "--sampler", "tpe"
    )
    assert re.search("sampler='autoseg'.*--resume", other.stderr)
    for name, value in (("format", "voc"), ("remap", "r.yaml"), ("group-pattern", "x")):
        other = autoseg_command(
            "optimize", "--resume", "--results", str(folder.parent), f"--{name}", value
        )
        assert other.code == 2
        assert re.search(f"{name.replace('-', '_')}=None.*--resume", other.stderr)
