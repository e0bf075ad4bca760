"""`verify` says of each promise whether it holds, does not, or cannot be judged here."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import SAID, bright_pixels, bundle, measured

import autoseg
from autoseg import data as data_room
from autoseg.api.predict import evaluate_file
from autoseg.api.verify import verify
from autoseg.core.errors import InputError
from autoseg.core.records import DeviceInfo
from autoseg.data.dataset import Reading

CARD_MS = 1.2
CLASSES = ("background", "object")  # of the boxes


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache") / "pictures"


@pytest.fixture(scope="module")
def scores(tiny, cache, tmp_path_factory):
    """What the model of these tests really scores on the boxes."""
    model = bright_pixels(tmp_path_factory.mktemp("model") / "m.onnx", 3)
    found = [evaluate_file(model, tiny.data, split, Reading(), cache) for split in ("val", "test")]
    assert all(0.5 < score.iou <= 1 for score in found)
    return tuple(found)


@pytest.fixture
def promised(tmp_path, tiny, cache, scores):
    """A bundle that promises what holds on a fake device; `said` changes what its run knows."""

    def make(off: float = 0.0, **said) -> Path:
        device = autoseg.FakeDevice().describe()
        digest = data_room.load(tiny.data, cache_dir=cache.with_name("inspected")).digest
        facts = {**SAID, "data_digest": digest, "seed": 0, "split_column": None, **said}
        wrong = tuple(replace(score, iou=score.iou + off) for score in scores)
        return bundle(
            tmp_path, classes=CLASSES, declaration=facts, device=device,
            evaluation=replace(measured(), scores=wrong),
        )  # fmt: skip

    return make


def checks(found) -> dict[str, bool | None]:
    return {check.name: check.holds for check in found.checks}


def test_verify_holds_where_all_figures_are_repeated(promised, tiny, cache):
    found = verify(promised(), autoseg.FakeDevice(1.0), data=tiny.data, cache_dir=cache)
    assert checks(found) == {"latency p90": True, "IoU on val": True, "IoU on test": True}
    assert found.holds is True and found.measurement.phase == "confirm"
    assert found.checks[0].card == CARD_MS and "15 % faster" in found.checks[0].why
    assert re.search(r"fake 1\.0 .*onnxruntime 1\.16", found.checks[0].why)


def test_verify_tells_a_slower_machine_from_a_slower_model(tmp_path):
    """Everything takes 1.37 times as long as then, and the model 1.05 times as long on top."""
    device, card = autoseg.FakeDevice(1.0 * 1.37 * 1.05), measured()
    on_card = replace(
        card.measurements[0], reference_ms=0.1 / 1.37, p90_ms=1.02, p90_ci_ms=(1.0, 1.04)
    )
    folder = bundle(
        tmp_path, device=device.describe(), evaluation=replace(card, measurements=(on_card,))
    )
    (found,) = (c for c in verify(folder, device).checks if c.name.startswith("latency"))
    assert "machine is 37 % slower than then" in found.why
    assert "corrected for that, 5 % slower" in found.why


@pytest.mark.parametrize("latency_ms, holds", [(32.0, True), (33.0, False), (70.0, False)])
def test_verify_latency_holds_only_surely_under_the_ceiling(promised, latency_ms, holds):
    found = verify(promised(), autoseg.FakeDevice(latency_ms))
    assert found.checks[0].holds is holds
    assert re.search(r"33 ms .*P\b", found.checks[0].why)


def test_verify_fails_where_the_iou_differs_from_the_card(promised, tiny, cache):
    found = verify(promised(-0.002), autoseg.FakeDevice(1.0), data=tiny.data, cache_dir=cache)
    assert checks(found) == {"latency p90": True, "IoU on val": False, "IoU on test": False}
    assert found.holds is False and "0.0020" in found.checks[1].why


def test_verify_on_another_device_judges_only_a_given_ceiling(tmp_path):
    other = DeviceInfo(name="pi4", model="\x1b[31mCortex", runtime="r", threads=4, provider="C")
    folder = bundle(tmp_path, device=other)
    found = verify(folder, autoseg.FakeDevice(50.0))
    assert found.checks[0].holds is None and found.holds is None
    assert re.search(r"processor fake .*\\x1b\[31mCortex ", found.checks[0].why)
    assert "--max-latency" in found.checks[0].why
    for ceiling_ms, holds in ((60.0, True), (40.0, False)):
        found = verify(folder, autoseg.FakeDevice(50.0), max_latency_ms=ceiling_ms)
        assert found.checks[0].holds is holds


def test_verify_of_other_data_is_not_judged(promised, tiny, cache):
    folder = promised(data_digest="else", split_column="split", seed=7)
    found = verify(folder, autoseg.FakeDevice(1.0), data=tiny.data, cache_dir=cache)
    assert checks(found)["IoU on val"] is None and found.checks[1].found is not None
    assert "--split-column split --seed 7" in found.checks[1].why


def test_verify_refuses_data_of_other_classes_before_measuring(promised, tiny, cache):
    folder, device = promised(), autoseg.FakeDevice(1.0)
    for classes in (CLASSES[::-1], (*CLASSES, "\x1broad")):
        folder = bundle(folder.parent.parent, classes=classes)
        with pytest.raises(InputError, match="data.* classes .*bundle") as told:
            verify(folder, device, data=tiny.data, cache_dir=cache)
        assert "--remap" in str(told.value) and "\x1b" not in str(told.value)
    assert device.measured == []


def test_verify_without_data_does_not_repeat_the_iou(promised):
    found = verify(promised(), autoseg.FakeDevice(1.0))
    assert [check.found for check in found.checks[1:]] == [None, None]
    assert "--data" in found.checks[1].why
    with pytest.raises(InputError, match="--data"):
        verify(promised(), autoseg.FakeDevice(1.0), reading=Reading(seed=3))


def test_verify_of_a_model_without_test_has_no_check_of_test(
    promised, tiny, cache, scores, tmp_path
):
    folder = bundle(tmp_path, classes=CLASSES, evaluation=replace(measured(), scores=scores[:1]))
    found = verify(folder, autoseg.FakeDevice(1.0), data=tiny.data, cache_dir=cache)
    assert list(checks(found)) == ["latency p90", "IoU on val"]


def test_verify_measures_nothing_of_a_changed_bundle(promised):
    folder, device = promised(), autoseg.FakeDevice(1.0)
    (folder / "card.md").write_text("better")
    with pytest.raises(InputError, match="card.md"):
        verify(folder, device)
    assert device.measured == []


def test_verify_command_names_the_changed_file(promised, autoseg_command):
    folder = promised()
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    called = autoseg_command("verify", str(folder))
    assert (called.code, called.stdout) == (2, "")
    assert called.stderr.startswith("autoseg: ") and "model.onnx" in called.stderr


def test_verify_command_names_options_where_nothing_was_judged(
    tmp_path, autoseg_command, monkeypatch
):
    monkeypatch.setattr("autoseg.device.resolve", lambda *_, **__: autoseg.FakeDevice(1.0))
    folder = bundle(tmp_path)  # of a device and of data that are not here
    called = autoseg_command("verify", str(folder))
    assert called.code == 2 and "Traceback" not in called.stderr
    last = called.stdout.splitlines()[-1]
    assert "--max-latency" in last and "--data" in last
    called = autoseg_command("verify", str(folder), "--json", "--max-latency", "10s")
    assert called.code == 0 and '"holds": true' in called.stdout


@pytest.mark.slow
def test_verify_command_repeats_figures_of_a_real_run_and_sets_its_exit_code(
    finished, tiny, autoseg_command, tmp_path, monkeypatch
):
    import json

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "it's a <bundle> ö"
    assert autoseg_command("bundle", str(finished.folder), "-o", str(folder)).code == 0
    called = autoseg_command("verify", str(folder), "--data", str(tiny.data), "--json")
    assert called.code == 0, called.stderr
    said = json.loads(called.stdout)
    assert said["holds"] is True and said["bundle"] == str(folder)
    # The latency that is not promised is repeated as well, and not judged.
    assert [check["holds"] for check in said["checks"]] == [True, None, True, True]
    assert not (tmp_path / "results").exists()
    called = autoseg_command("verify", str(folder), "--max-latency", "0.00001ms")
    assert called.code == 3
    assert "NO" in called.stdout and "local" in called.stdout
