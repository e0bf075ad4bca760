"""nnU-Net v2: dataset.json, imagesTr/CASE_0000.png and labelsTr/CASE.png.

Source: github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md. Pictures of one channel file,
grey or RGB, as PNG, BMP or TIFF are read; volumes and several channel files are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.data.dataset import Array, Sample
from autoseg.data.formats.common.files import holds, lacks, picture_files, read_json
from autoseg.data.formats.common.pairing import pairs
from autoseg.data.layout import Layout, class_values, listed
from autoseg.data.pictures import PILLOW_FORMATS, read_mask

_FILE = "dataset.json"
_TRAIN, _TEST = ("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")
_ENDINGS = (".png", ".bmp", ".tif", ".tiff")
_CHANNEL = "_0000"
_IGNORE = "ignore"  # nnU-Net's reserved name


def recognize(root: Path) -> str | None:
    folders = holds(root, *_TRAIN)
    return f"{folders} beside {_FILE}" if folders and (root / _FILE).is_file() else None


def find(root: Path) -> Layout:
    """Pair pictures and labels by case; the classes are those of dataset.json."""
    layout = Layout(root, read_mask=read_flat)
    if lacks(layout, _TRAIN, "nnU-Net"):
        return layout
    try:
        about = read_json(root / _FILE)
        _check_ending(root, about)
        layout.classes, layout.values = _classes(about)
    except InputError as error:
        layout.faults.append(str(error).replace(f"{root / _FILE}", _FILE))
        return layout
    train = _pairs(layout, *_TRAIN)
    if (root / _TEST[1]).is_dir():
        layout.by_split = {"train": train, "test": _pairs(layout, *_TEST)}
    else:
        layout.by_split = {"": train}
        if (root / _TEST[0]).is_dir():
            layout.warnings.append(f"{_TEST[0]}/ has no {_TEST[1]}/: its pictures are left out")
    return layout


def read_flat(sample: Sample) -> Array:
    """The labels of a picture, uint8 ``[H, W]``. Raises InputError for a TIFF of several layers,
    of which only the first would be read.
    """
    for path in (sample.image, sample.mask):
        if path.lower().endswith((".tif", ".tiff")) and (layers := _layers(path)) > 1:
            raise InputError(
                f"{path} holds {layers} layers: volumes are not read; save each layer as a picture"
            )
    return read_mask(sample)


def _layers(path: str) -> int:
    try:
        with Image.open(path, formats=PILLOW_FORMATS) as picture:
            return getattr(picture, "n_frames", 1)
    except Exception:  # decoders raise many types; the inspection of the file reports it
        return 1


def _check_ending(root: Path, about: object) -> None:
    """Raise InputError for a file_ending that is not read; NIfTI is what most data sets have."""
    given = about.get("file_ending") if isinstance(about, dict) else None
    if given is None and any((root / _TRAIN[0]).glob("*.nii*")):
        given = ".nii.gz"  # nnU-Net v1 has no other
    if not isinstance(given, str):
        raise InputError(f"{_FILE}: its file_ending must be a text, got {given!r:.40}")
    if given.lower() not in _ENDINGS:
        what = "NIfTI volumes" if ".nii" in given.lower() else f"files of the kind {given:.20}"
        raise InputError(
            f"{what} ({given:.20}) of nnU-Net are not read: autoseg trains on flat pictures; save"
            f" each slice as PNG ({_TRAIN[0]}/CASE{_CHANNEL}.png, {_TRAIN[1]}/CASE.png) and set"
            ' "file_ending": ".png"'
        )


def _classes(about: dict[str, Any]) -> tuple[tuple[str, ...], bytes]:
    """The names by class index, and the class of each stored value. Raises InputError."""
    labels = about.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError(f"{_FILE}: its labels must be names with values, got {labels!r:.40}")
    if regions := [name for name, value in labels.items() if isinstance(value, list)]:
        raise InputError(
            f"{_FILE}: labels that are regions of several values are not read: {listed(regions)};"
            " name each value, and merge classes with --remap"
        )
    wrong = [
        f"{name}: {value!r:.20}"
        for name, value in labels.items()
        if type(value) is not int or not 0 <= value < IGNORE_INDEX
    ]
    if wrong:
        raise InputError(f"{_FILE}: a label's value must be 0 to 254, got {listed(wrong)}")
    if len(set(labels.values())) < len(labels):
        raise InputError(f"{_FILE}: two labels have one value: {listed(_shared(labels))}")
    by_value = sorted((value, name) for name, value in labels.items() if name != _IGNORE)
    names = tuple(name for _, name in by_value)
    index = {value: place for place, (value, _) in enumerate(by_value)}
    if _IGNORE in labels:
        index[labels[_IGNORE]] = IGNORE_INDEX
    return names, class_values(index, len(names))


def _shared(labels: dict[str, int]) -> list[str]:
    values = list(labels.values())
    return [name for name, value in labels.items() if values.count(value) > 1]


def _pairs(layout: Layout, image_folder: str, label_folder: str) -> list[Sample]:
    images = picture_files(layout, layout.root / image_folder, deep=False)
    labels = picture_files(layout, layout.root / label_folder, deep=False)
    if others := sorted(name for name in images if not name.endswith(_CHANNEL)):
        layout.faults.append(
            f"{image_folder}/: pictures whose names do not end with {_CHANNEL}: {listed(others)};"
            " channels in files of their own are not read: save one RGB or grey picture a case"
        )
        return []
    cases = _by_case(images.items())
    return pairs(layout, cases, labels, image_folder)


def _by_case(images: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    return {name.removesuffix(_CHANNEL): path for name, path in images}
