"""Damaged and hostile data sets: every one is refused or read, and never ends in a traceback."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import HW, SETS, DataSet
from hostile import bounded, damaged, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoseg.core.errors import InputError
from autoseg.data.dataset import Reading
from autoseg.data.formats import FORMATS
from autoseg.data.inspection import Inspection, inspect

MAX_TEXTS, MAX_CHARS = 60, 3000


def reading(whole: DataSet, root: Path, **asked: Any) -> Reading:
    options = {**whole.options, **asked}
    if "remap" in options:
        options["remap"] = str(root / options["remap"])
    return Reading(**options)


def survives(root: Path, how: Reading) -> Inspection | None:
    """What is understood of a folder: nothing, faults, or pairs that can all be read."""
    with bounded():
        try:
            seen = inspect(root, how)
        except InputError as error:
            assert len(str(error)) < MAX_CHARS * MAX_TEXTS
            return None
        for said in (seen.faults, seen.warnings):
            assert len(said) <= MAX_TEXTS, len(said)
            assert all(text.isprintable() and len(text) < MAX_CHARS for text in said)
        if seen.faults or seen.read is None:
            return seen
        for sample in itertools.chain(*seen.splits.values()):
            image, mask = seen.read(sample)
            assert (image.dtype, mask.dtype) == (np.uint8, np.uint8)
            assert image.shape == (*mask.shape, 3)
            assert set(np.unique(mask).tolist()) <= {*range(len(seen.classes)), 255}
    return seen


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where zips are unpacked


def survives_damage(name: str, seeds: range, folder: Path) -> None:
    whole = SETS[name]()
    for seed in seeds:
        files, done = damaged(whole, seed)
        root = written(folder / f"{seed}", files)
        asked = {"format": name.partition(",")[0]} if seed % 2 else {}
        try:
            survives(root / whole.zip, reading(whole, root, **asked))
        except Exception as error:
            error.add_note(f"{name}, seed {seed}, --format {asked}: {'; '.join(done)}")
            raise
        shutil.rmtree(root)


@pytest.mark.parametrize("name", SETS)
def test_inspect_reads_the_data_set_before_it_is_damaged(name, tmp_path):
    whole = SETS[name]()
    root = written(tmp_path / "set", whole.files)
    seen = survives(root / whole.zip, reading(whole, root))
    assert seen is not None and seen.faults == ()
    assert seen.format == name.partition(",")[0]
    assert len(seen.classes) >= 2 and seen.sizes == ((HW, sum(seen.pairs.values())),)


def test_hostile_data_sets_are_of_every_format():
    assert {name.partition(",")[0] for name in SETS} == set(FORMATS)


@pytest.mark.timeout(120)  # a pipe that is opened waits for ever
@pytest.mark.parametrize("name", SETS)
def test_inspect_of_a_damaged_data_set_raises_nothing_but_input_errors(name, tmp_path):
    survives_damage(name, range(25), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_inspect_of_many_damaged_data_sets_raises_nothing_but_input_errors(name, tmp_path):
    survives_damage(name, range(25, 400), tmp_path)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
SAID = (".json", ".txt", ".csv", ".yaml")
OF_FILES = [name for name in SETS if any(file.endswith(SAID) for file in SETS[name]().files)]


def like(value: Any) -> st.SearchStrategy[Any]:
    """JSON values of the shape of a valid one, with anything in the place of some of its parts."""
    inner: st.SearchStrategy[Any] = st.just(value)
    if isinstance(value, dict):
        inner = st.fixed_dictionaries({key: like(part) for key, part in value.items()})
    elif isinstance(value, list) and value:
        inner = st.lists(like(value[0]), max_size=3)
    return st.just(value) | inner | ANY


def contents(file: str, valid: bytes) -> st.SearchStrategy[bytes]:
    """A file's bytes: JSON of its shape, or its lines among any others."""
    if file.endswith(".json"):
        return like(json.loads(valid)).map(lambda value: json.dumps(value).encode())
    lines = st.lists(st.sampled_from(valid.decode().splitlines()) | st.text(max_size=20))
    return lines.map(lambda several: "\n".join(several).encode(errors="surrogatepass"))


def survives_any_content(name: str, folder: Path, examples: int, *, same: bool) -> None:
    """With `same`, the same examples each time."""
    whole = SETS[name]()
    files = sorted(file for file in whole.files if file.endswith(SAID))

    @settings(
        max_examples=examples, derandomize=same, deadline=None, database=None,
        suppress_health_check=[*HealthCheck],
    )  # fmt: skip
    @given(st.data())
    def run(data: st.DataObject) -> None:
        file = data.draw(st.sampled_from(files))
        content = data.draw(contents(file, bytes(whole.files[file])))  # type: ignore[arg-type]
        root = written(folder / "set", {**whole.files, file: content})
        try:
            survives(root / whole.zip, reading(whole, root))
        finally:
            shutil.rmtree(root)

    run()


@pytest.mark.parametrize("name", OF_FILES)
def test_inspect_of_annotations_with_any_content_raises_nothing_but_input_errors(name, tmp_path):
    survives_any_content(name, tmp_path, 25, same=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_FILES)
def test_inspect_of_annotations_with_much_content_raises_nothing_but_input_errors(name, tmp_path):
    survives_any_content(name, tmp_path, 300, same=False)
