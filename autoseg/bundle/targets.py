"""The output path of each image's mask: no output overwrites another, or an image.

Standard library of Python 3.8 only, since it is inlined into a bundle's predict.py.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple, Sequence  # noqa: UP035 (Python 3.8)

from autoseg.core.errors import InputError
from autoseg.data.pictures import SUFFIXES


class MaskTask(NamedTuple):
    """An image, the path of its mask and, if requested, of the image with the mask over it."""

    picture: Path
    mask: Path
    overlay: Path | None


def mask_tasks(inputs: Sequence[Path], output: Path, overlays: bool) -> list[MaskTask]:
    """The tasks for images and folders of images; `output` is a .png for one image, else a folder.

    Folders are read recursively, and the output has the same tree. Raises InputError for missing
    inputs, and for outputs that would overwrite each other or an image.
    """
    found = [pair for given in inputs for pair in _pictures(given, output)]
    suffix = output.suffix.lower()
    if suffix == ".png" and len(found) != 1 and not output.is_dir():
        raise InputError(
            f"-o names one file, {output}, for {len(found)} pictures; give it a folder"
        )
    if suffix in SUFFIXES and suffix != ".png":
        raise InputError(f"masks are PNG files, which keep class indices: not {output}, but .png")
    alone = suffix == ".png" and not output.is_dir()
    masks = [output if alone else (output / name).with_suffix(".png") for _, name in found]
    planned = [
        MaskTask(picture, mask, mask.with_name(f"{mask.stem}_overlay.jpg") if overlays else None)
        for (picture, _), mask in zip(found, masks)  # noqa: B905 (Python 3.8)
    ]
    _require_apart(planned)
    return planned


def _pictures(given: Path, output: Path) -> list[tuple[Path, Path]]:
    """The images of a file or folder, each with its path below the output."""
    if given.is_file():
        return [(given, Path(given.name))]
    if not given.is_dir():
        raise InputError(f"there is no file or folder {given}")
    own = os.path.abspath(output)
    if own == os.path.abspath(given):
        raise InputError(f"-o {output} is the folder of the pictures itself: give another one")
    found = []
    for folder, folders, names in os.walk(str(given)):
        # The masks of an earlier call are not inputs.
        folders[:] = sorted(
            f for f in folders if os.path.abspath(os.path.join(folder, f)) != own and f[0] != "."
        )
        files = [Path(folder, name) for name in sorted(names) if name[0] != "."]
        found += [file for file in files if file.suffix.lower() in SUFFIXES]
    if not found:
        raise InputError(f"the folder {given} has no pictures ({' '.join(SUFFIXES)})")
    return [(file, file.relative_to(given)) for file in found]


def _require_apart(planned: Sequence[MaskTask]) -> None:
    targets = [t for task in planned for t in (task.mask, task.overlay) if t is not None]
    twice = [target for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise InputError(f"several pictures would be written to {twice[0]}: call for each")
    pictures = {task.picture.resolve() for task in planned}
    over = [target for target in targets if target.resolve() in pictures]
    if over:
        raise InputError(f"{over[0]} is a picture to be read: write masks elsewhere, with -o")
