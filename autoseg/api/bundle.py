"""`autoseg bundle`: a copy of the bundle of one model of a run."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.bundle.write import BundleContext, bundle_matches, write_bundle
from autoseg.core.diagnostics import sheet_path
from autoseg.core.errors import InputError
from autoseg.core.pareto import PICKS
from autoseg.core.records import Evaluation
from autoseg.run.result import Result
from autoseg.run.store import read_declaration


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle copied from a run, and the reason for its choice; `new` unless it existed."""

    key: str
    folder: Path
    reason: str
    new: bool


def bundle_model(
    result: Result, evaluation: Evaluation, folder: Path, classes: Sequence[str]
) -> Path:
    """Write the bundle of a model of the front, with all facts of its run."""
    key, place = evaluation.candidate.key, result.files
    return write_bundle(
        folder,
        onnx=place / "artifacts" / f"{key}.onnx",
        evaluation=evaluation,
        classes=classes,
        constraints=result.constraints,
        context=BundleContext(
            read_declaration(result.folder),
            result.measured_on,
            sheet_path(place, key),
        ),
    )


def take(result: Result, wanted: str, out: Path | None) -> WrittenBundle:
    """A copy at `out` of the bundle of the model that `wanted` picks or names.

    Without `out`, in the working directory and named after the run. It is written whole or not at
    all. Raises InputError for a key that is not on the front, for a run without its files, or with
    older ones only, and where other files are in the way. The front must not be empty.
    """
    evaluation, reason = _chosen(result, wanted)
    folder = out or Path(_name(result, evaluation))
    _require_room(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".autoseg-bundle-") as draft:
            made = _made(result, evaluation, Path(draft) / "bundle")
            if folder.is_dir() and any(folder.iterdir()):
                _require_same(made, folder)
                return WrittenBundle(evaluation.candidate.key, folder, reason, new=False)
            made.rename(folder)
    except OSError as error:
        raise InputError(
            f"the bundle cannot be written to {folder} ({error.strerror}): choose another "
            "folder with -o"
        ) from error
    return WrittenBundle(evaluation.candidate.key, folder, reason, new=True)


def _chosen(result: Result, wanted: str) -> tuple[Evaluation, str]:
    if wanted in PICKS:
        picked = result.pick(wanted)
        if picked is None:
            raise InputError(f"the run {result.folder.name!r} has no model to pick from")
        return picked, result.reason(wanted)
    by_key = {e.candidate.key: e for e in result.front}
    if wanted not in by_key:
        raise InputError(
            f"--pick is {', '.join(PICKS)}, or the key of a model on the front; got {wanted!r}. "
            f"On the front of {result.folder.name!r}: {', '.join(by_key)}"
        )
    return by_key[wanted], "asked for by its key"


def _made(result: Result, evaluation: Evaluation, folder: Path) -> Path:
    """A copy of the run's bundle, or one written now where the run is still going.

    A continued run may have confirmed the model again: its older bundle is not copied.
    """
    key = evaluation.candidate.key
    for there in sorted((result.files / "bundles").glob(f"*-{key}/bundle.json")):
        if bundle_matches(there.parent, evaluation):
            return Path(shutil.copytree(there.parent, folder))
    if not (result.files / "artifacts" / f"{key}.onnx").is_file():
        raise InputError(
            f"the run {result.folder.name!r} has no file of {key} any more, neither in bundles/ "
            "nor in artifacts/"
        )
    classes = read_declaration(result.folder).get("classes", [])
    return bundle_model(result, evaluation, folder, classes)


def _name(result: Result, evaluation: Evaluation) -> str:
    parts = [result.folder.resolve().name, result.device or "", evaluation.candidate.key]
    return "-".join(re.sub(r"[^\w.-]+|^\.", "_", part) for part in parts if part)


def _require_room(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is in the way: remove it, or choose another folder with -o")


def _require_same(made: Path, there: Path) -> None:
    """Raises InputError unless the existing folder is this very bundle."""
    sums = there / "SHA256SUMS"
    same = sums.is_file() and not sums.is_symlink()
    if not same or sums.read_bytes() != (made / "SHA256SUMS").read_bytes():
        raise InputError(
            f"{there} holds other files already: remove it, or choose another folder with -o"
        )
