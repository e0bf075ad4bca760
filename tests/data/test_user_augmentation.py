"""A user's own augmentation: what it may be, and that the same seed gives the same pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import autoseg
from autoseg import FakeDevice, data
from autoseg.api.assemble import augmentation_of, require_same, statement
from autoseg.core.errors import InputError
from autoseg.data.user_augmentation import Augmentation, OwnAugmenter, check, load_augmentation
from autoseg.networks.space_file import load_space
from autoseg.run.declaration import Declaration

FLIPS = ["A.HorizontalFlip(p=0.5)", "A.VerticalFlip(p=0.5)"]
TURNS = ["A.Affine(rotate=(-20, 20), fill_mask=255, p=0.7)", "A.RandomBrightnessContrast(p=0.5)"]


def composed(*transforms: str):
    import albumentations as A

    return A.Compose([eval(text, {"A": A}) for text in transforms])


def saved(path: Path, *transforms: str) -> Path:
    import albumentations as A

    A.save(composed(*transforms), path, data_format="json" if path.suffix == ".json" else "yaml")
    return path


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> str:
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return f"{name}:make"


def made(channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (40, 24, 32, channels), dtype=np.uint8)
    return frames, rng.integers(0, 3, (40, 24, 32), dtype=np.uint8)


def drawn(augmentation: Augmentation, seed: int, epoch: int, channels: int = 3) -> list[bytes]:
    own = OwnAugmenter(augmentation, seed)
    own.start_epoch(epoch)
    return [array.tobytes() for array in own.batch(*made(channels))]


@pytest.mark.parametrize("suffix", ["json", "yaml", "yml"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_file_changes_pictures_and_masks_by_seed_and_epoch(tmp_path, suffix, channels):
    augmentation = load_augmentation(saved(tmp_path / f"mine.{suffix}", *FLIPS, *TURNS))
    check(augmentation, [(24, 32), (32, 24)], [channels])
    first = drawn(augmentation, 0, 1, channels)
    assert first == drawn(augmentation, 0, 1, channels)
    for seed, epoch in ((0, 2), (1, 1)):
        other = drawn(augmentation, seed, epoch, channels)
        assert first[0] != other[0] and first[1] != other[1]


def test_an_epoch_does_not_depend_on_those_before_it(tmp_path):
    augmentation = load_augmentation(saved(tmp_path / "mine.json", *FLIPS, *TURNS))
    own = OwnAugmenter(augmentation, 0)
    for epoch in (0, 1, 2):
        own.start_epoch(epoch)
        last = [array.tobytes() for array in own.batch(*made())]
    assert last == drawn(augmentation, 0, 2)


def test_picture_and_mask_move_together_and_transforms_draw_apart(tmp_path):
    own = OwnAugmenter(load_augmentation(saved(tmp_path / "flips.json", *FLIPS)), 0)
    frames, _ = made()
    masks = frames[..., 0] % 3
    changed, moved = own.batch(frames, masks)
    assert np.array_equal(changed[..., 0] % 3, moved)
    ways = {
        (across, down): sum(
            np.array_equal(new, old[:: -1 if down else 1, :: -1 if across else 1])
            for new, old in zip(changed, frames, strict=True)
        )
        for across in (False, True)
        for down in (False, True)
    }
    assert sum(ways.values()) == len(frames) and min(ways.values()) > 0


@pytest.mark.parametrize(
    ("transforms", "channels", "told"),
    [
        (["A.RandomCrop(16, 16, p=0.01)"], 3, r"a picture must stay uint8 \(24, 32, 3\), got"),
        (["A.Normalize()"], 3, "got float32"),
        (["A.ToTensorV2()"], 3, "got torch.uint8"),
        (["A.Rotate(fill_mask=7)"], 3, r"must keep its classes \[1, 255\], got \[7\] too"),
        (["A.Affine(rotate=20, mask_interpolation=1)"], 3, "interpolate masks by the nearest"),
        (["A.RandomRain()"], 1, r"must take pictures \(24, 32, 1\)"),
        (["A.Mosaic()"], 3, "must take pictures"),
    ],
)
def test_what_a_training_could_not_use_is_refused(tmp_path, transforms, channels, told):
    augmentation = load_augmentation(saved(tmp_path / "mine.json", *transforms))
    with pytest.raises(InputError, match=told):
        check(augmentation, [(24, 32)], [channels])


def test_a_fill_with_class_0_is_warned_of(tmp_path, caplog):
    check(load_augmentation(saved(tmp_path / "a.json", "A.Rotate()")), [(24, 32)], [3])
    assert "fill_mask=255" in caplog.text
    caplog.clear()
    check(load_augmentation(saved(tmp_path / "b.json", *TURNS)), [(24, 32)], [3])
    assert not caplog.text


def test_a_transform_whose_file_holds_more_than_it_takes_is_read(tmp_path):
    path = saved(tmp_path / "mine.json", "A.RGBShift(10, 10, 10)", "A.ColorJitter()")
    check(load_augmentation(path), [(24, 32)], [1, 3])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda flip: flip.update(__class_fullname__="Flop"), "KeyError: 'Flop'"),
        (lambda flip: flip.update(__class_fullname__="os.system"), "KeyError: 'os.system'"),
        (lambda flip: flip.update(prob=1), "unknown HorizontalFlip.prob"),
        (lambda flip: flip.pop("p"), "no 'p' parameter"),
        (lambda flip: flip.update(p=3), "less than or equal to 1"),
    ],
)
def test_a_file_that_would_be_read_wrongly_is_refused(tmp_path, change, told):
    path = saved(tmp_path / "mine.json", *FLIPS)
    content = json.loads(path.read_text())
    change(content["transform"]["transforms"][0])
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=told):
        OwnAugmenter(load_augmentation(path), 0)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", None, "No such file"),
        ("a.json", "{", "must be readable JSON"),
        ("a.json", "[1]", "must be what A.save"),
        ("a.yaml", "a: [", "must be valid YAML"),
        ("a.yaml", "!!python/object/apply:os.abort []", "could not determine a constructor"),
        ("a.yml", "transform: {__class_fullname__: HorizontalFlip, p: 1}", "must be an A.Compose"),
        ("a.txt", "", "must be a .json or .yaml file written by A.save, or package.module:"),
        ("nowhere:make", None, "must be importable"),
        ("json:nothing", None, "must be importable"),
        ("json:loads", None, "must be callable without arguments"),
        ("os:getpid", None, "must return an A.Compose, or a callable .*; got int"),
    ],
)
def test_what_is_no_augmentation_is_refused(tmp_path, name, text, told):
    source = name if text is None and ":" in name else str(tmp_path / name)
    if text is not None:
        Path(source).write_text(text)
    with pytest.raises(InputError, match=told):
        OwnAugmenter(load_augmentation(source), 0)


def test_a_file_cannot_hold_a_function(tmp_path):
    path = saved(tmp_path / "mine.json", "A.Lambda(name='mine', image=lambda x, **_: x)")
    with pytest.raises(InputError, match="must be what A.save"):
        OwnAugmenter(load_augmentation(path), 0)


COMPOSE = (
    "import albumentations as A\ndef make():\n    return A.Compose([A.HorizontalFlip(p={})])\n"
)
CALLABLE = """
import random, numpy as np
def make():
    def change(image, mask):
        shift = np.random.randint(30)
        return {"image": image[:, ::random.choice([1, -1])] // 2 + np.uint8(shift), "mask": mask}
    return change
"""
UNSEEDED = CALLABLE.replace("np.random", "np.random.default_rng()").replace("randint", "integers")


def test_a_function_returns_a_compose_or_a_callable(tmp_path, monkeypatch):
    for name, text in (("composes", COMPOSE.format(0.5)), ("calls", CALLABLE)):
        augmentation = load_augmentation(module(tmp_path, monkeypatch, text, name))
        check(augmentation, [(24, 32)], [1, 3])
        assert drawn(augmentation, 0, 1) == drawn(augmentation, 0, 1) != drawn(augmentation, 0, 2)


def test_random_numbers_that_no_seed_reaches_are_refused(tmp_path, monkeypatch):
    source = module(tmp_path, monkeypatch, UNSEEDED, "unseeded")
    with pytest.raises(InputError, match="same pictures for the same seed"):
        check(load_augmentation(source), [(24, 32)], [3])


def test_two_augmentations_have_two_digests(tmp_path, monkeypatch):
    sources = [saved(tmp_path / f"{p}.json", f"A.HorizontalFlip(p={p})") for p in (0.4, 0.5)]
    sources += [module(tmp_path, monkeypatch, COMPOSE.format(p), f"p{p}"[:2] + str(int(10 * p)))
                for p in (0.4, 0.5)]  # fmt: skip
    assert len({load_augmentation(source).digest for source in sources}) == 4
    copy = tmp_path / "copy.json"
    copy.write_bytes(sources[0].read_bytes())
    assert load_augmentation(copy).digest == load_augmentation(sources[0]).digest


def test_a_run_goes_on_only_with_the_augmentation_it_was_begun_with(tiny, tmp_path):
    path = saved(tmp_path / "mine.json", *FLIPS)
    space, dataset, info = load_space(tiny.space), data.load(tiny.data), FakeDevice().describe()
    declaration = Declaration(augment=str(path))

    def stated() -> dict:
        augmentation = augmentation_of(declaration, space)
        return statement(declaration, space, dataset, info, augmentation.digest)

    before = stated()
    require_same(before, stated())
    saved(path, *TURNS)
    with pytest.raises(InputError, match="the augmentation changed since the run began"):
        require_same(before, stated())
    without = statement(declaration, space, dataset, info)
    with pytest.raises(InputError, match="the augmentation changed since the run began"):
        require_same(before, without)


@pytest.mark.slow  # trains in workers
@pytest.mark.timeout(300)
def test_a_run_trains_with_it_and_does_not_go_on_with_another(tiny, tmp_path):
    path = saved(tmp_path / "mine.json", *FLIPS)
    asked = {
        **tiny.given, "trials": 1, "recipe": {"rungs": [1], "augment_epochs": 0},
        "augment": path, "device": FakeDevice(), "results": tmp_path / "results",
    }  # fmt: skip
    result = autoseg.optimize(**asked)
    assert any(evaluation.score("val") for evaluation in result.evaluations)
    saved(path, *TURNS)
    with pytest.raises(InputError, match="the augmentation changed since the run began"):
        autoseg.optimize(**asked, resume=True)


OFFLINE = """
import pkgutil, socket, importlib, numpy as np
def refused(*_, **__):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.socket.connect_ex = refused
socket.getaddrinfo = socket.create_connection = refused
import autoseg
for module in pkgutil.walk_packages(autoseg.__path__, "autoseg."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from autoseg.data.user_augmentation import OwnAugmenter, load_augmentation
own = OwnAugmenter(load_augmentation({path!r}), 0)
own.batch(np.zeros((1, 8, 8, 3), np.uint8), np.zeros((1, 8, 8), np.uint8))
from autoseg.networks.cost import cost
from torch import nn
cost(nn.Conv2d(3, 4, 1), (8, 8))
"""


@pytest.mark.slow  # imports all heavy packages
@pytest.mark.timeout(300)
def test_nothing_asks_the_network(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
    code = OFFLINE.format(path=str(saved(tmp_path / "mine.json", *FLIPS)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
