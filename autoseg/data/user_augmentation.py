"""A user's own augmentation in place of the built-in one: a file of albumentations, or a function.

Workers are sent the content of the file or the name of the function, and build it themselves.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import logging
import math
import os
import random
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.core import yaml_files
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX
from autoseg.core.serialize import digest
from autoseg.core.units import HW
from autoseg.data.dataset import Array

log = logging.getLogger(__name__)

SUFFIXES = (".json", ".yaml", ".yml")
TRIED = 4  # pictures of each size, when it is checked


@dataclass(frozen=True)
class Augmentation:
    """As the user gave it (`source`), with the content of the file, None for a function.

    `digest` changes with that content, or with the source of the function's module.
    """

    source: str
    content: Any
    digest: str


def load_augmentation(source: str | Path) -> Augmentation:
    """The augmentation in a file (.json, .yaml), or of a ``package.module:function``.

    Raises InputError for a file that cannot be read, and for a function that does not exist.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() in SUFFIXES:
        try:
            is_json = path.suffix.lower() == ".json"
            content = json.loads(path.read_bytes()) if is_json else yaml_files.read(path).data
        except (OSError, ValueError, RecursionError) as error:
            raise _fault(path, "must be readable JSON, as A.save writes it", error) from error
        return Augmentation(str(source), content, digest(repr(content)))
    function = _function(str(source))
    try:
        code = inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):  # compiled: its name must do
        code = ""
    return Augmentation(str(source), None, digest(f"{source}\n{code}"))


class OwnAugmenter:
    """The user's changes to batches: the same (seed, epoch) gives the same sequence.

    Has the methods of `Augmenter` that training on a CPU calls. Raises InputError where the
    augmentation cannot be built.
    """

    def __init__(self, augmentation: Augmentation, seed: int) -> None:
        self._source, self._seed = augmentation.source, seed
        self._transform = _transform(augmentation)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Restart the random numbers for `epoch`, whatever was drawn before."""
        seed = int(np.random.SeedSequence((self._seed, epoch, 1)).generate_state(1)[0])
        random.seed(seed)
        np.random.seed(seed)
        if hasattr(self._transform, "set_random_state"):
            # Its `set_random_seed` would start each transform at the same numbers: of two with
            # p=0.5 both would be applied, or none.
            self._transform.set_random_state(np.random.default_rng(seed), random.Random(seed))

    def batch(self, frames: Array, masks: Array) -> tuple[Array, Array]:
        """Frames uint8 ``[N, H, W, C]`` and masks uint8 ``[N, H, W]``, changed together.

        Raises InputError for a change of shape or type, and for a class that was not in the mask.
        """
        pairs = [self._changed(*pair) for pair in zip(frames, masks, strict=True)]
        return np.stack([frame for frame, _ in pairs]), np.stack([mask for _, mask in pairs])

    def _changed(self, frame: Array, mask: Array) -> tuple[Array, Array]:
        try:
            given = self._transform(image=frame.copy(), mask=mask.copy())
            changed, moved = given["image"], given["mask"]
        except Exception as error:  # a user's own function may raise anything
            rule = f"must take pictures {frame.shape}; leave out what does not"
            raise _fault(self._source, rule, error) from error
        for what, new, old in (("picture", changed, frame), ("mask", moved, mask)):
            kind = getattr(new, "dtype", type(new).__name__), getattr(new, "shape", ())
            if not isinstance(new, np.ndarray) or kind != (old.dtype, old.shape):
                rule = f"a {what} must stay {old.dtype} {old.shape}, got {kind[0]} {kind[1]}"
                way = "leave out what resizes, normalizes or makes tensors"
                raise _fault(self._source, f"{rule}; {way}")
        if strange := _values(moved) - _values(mask) - {0, IGNORE_INDEX}:
            raise InputError(
                f"--augment {self._source}: a mask must keep its classes {sorted(_values(mask))}, "
                f"got {sorted(strange)[:5]} too; interpolate masks by the nearest pixel "
                f"(mask_interpolation=0), and fill them with {IGNORE_INDEX}"
            )
        return changed, moved


def check(augmentation: Augmentation, sizes: Iterable[HW], channels: Iterable[int]) -> None:
    """Try an augmentation on made pictures of all sizes, each of its transforms every time.

    Raises InputError for what cannot be built, fails, changes what it must keep, or draws from
    random numbers that no seed reaches. Warns where it fills masks with class 0.
    """
    own, fills = OwnAugmenter(augmentation, 0), False
    _apply_always(own._transform)
    for hw, count in itertools.product(sizes, channels):
        rng = np.random.default_rng(0)
        frames = rng.integers(0, 256, (TRIED, *hw, count), dtype=np.uint8)
        rows, columns = (np.arange(side) * 8 // side for side in hw)
        cells = rng.choice(np.array([1, IGNORE_INDEX], np.uint8), (TRIED, 8, 8))
        masks = cells[:, rows][:, :, columns]
        first, again = (_at_epoch_1(own, frames, masks) for _ in range(2))
        if not all(map(np.array_equal, first, again)):
            rule = "must give the same pictures for the same seed; return the A.Compose itself, or"
            raise _fault(augmentation.source, f"{rule} draw from random or numpy.random only")
        fills |= bool((first[1] == 0).any())
    if fills:
        log.warning(
            "--augment %s: pixels from outside a picture are trained as class 0; fill_mask=%d "
            "leaves them out", augmentation.source, IGNORE_INDEX,
        )  # fmt: skip


def _at_epoch_1(own: OwnAugmenter, frames: Array, masks: Array) -> tuple[Array, Array]:
    own.start_epoch(1)
    return own.batch(frames, masks)


def _transform(augmentation: Augmentation) -> Callable[..., Any]:
    """The callable (image=, mask=) -> dict of an augmentation."""
    # It asks the network for its newest version when it is imported, unless this is set.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    if augmentation.content is None:
        return _returned(augmentation.source)
    try:
        with warnings.catch_warnings():
            # What it cannot read is a warning there, and a default is taken.
            warnings.simplefilter("error", UserWarning)
            warnings.filterwarnings("ignore", "(?s).*(special|alias|very slow|not valid for)")
            # Only classes of its own registry are made, and no `Lambda`: a file runs no code.
            made = albumentations.from_dict(augmentation.content)
        # Its files hold arguments that some transforms do not take: those it would write again.
        again = _written(albumentations.to_dict(made)["transform"])
        if unknown := sorted(_written(augmentation.content["transform"]) - again):
            raise ValueError(f"unknown {', '.join(unknown)}")
    except Exception as error:  # whatever the constructors of its transforms raise
        rule = f"must be what A.save of albumentations {albumentations.__version__} writes"
        raise _fault(augmentation.source, rule, error) from error
    if not isinstance(made, albumentations.Compose):
        rule = f"must be an A.Compose, got {type(made).__name__}"
        raise _fault(augmentation.source, f"{rule}; put it into A.Compose([...]) and save that")
    return made  # type: ignore[no-any-return]


def _returned(source: str) -> Callable[..., Any]:
    function = _function(source)
    try:
        made = function()
    except Exception as error:  # a user's own function may raise anything
        raise _fault(source, "must be callable without arguments", error) from error
    if not callable(made):
        rule = "must return an A.Compose, or a callable (image=, mask=) that returns both in a"
        raise _fault(source, f"{rule} dict; got {type(made).__name__}")
    return made  # type: ignore[no-any-return]


def _function(source: str) -> Callable[..., Any]:
    module, _, name = source.partition(":")
    if not (module and name):
        ways = "a .json or .yaml file written by A.save, or package.module:function"
        raise InputError(f"--augment must be {ways}, got {source!r}")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except Exception as error:  # a user's module may raise anything
        rule = "must be importable; is it installed, or its folder on PYTHONPATH?"
        raise _fault(source, rule, error) from error


def _fault(source: str | Path, rule: str, cause: Exception | None = None) -> InputError:
    reason = "" if cause is None else f" ({' '.join(f'{type(cause).__name__}: {cause}'.split())})"
    return InputError(f"--augment {source}: {rule}{reason}")


def _apply_always(transform: Any) -> None:
    for inner in getattr(transform, "transforms", ()):
        if hasattr(inner, "p"):  # ColorJitter keeps plain functions there
            inner.p = math.ceil(inner.p)
            _apply_always(inner)


def _written(transform: Any) -> set[str]:
    """All arguments in a serialized transform and those within it, as `Class.argument`."""
    kind = transform["__class_fullname__"].rpartition(".")[2]
    inner = map(_written, transform.get("transforms", ()))
    return {f"{kind}.{name}" for name in transform}.union(*inner)


def _values(mask: Array) -> set[int]:
    return {*np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()}
