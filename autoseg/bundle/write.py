"""Writes a bundle: the folder with a model and what is needed to run and to check it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoseg.bundle.card import card
from autoseg.bundle.inline import inlined
from autoseg.bundle.manifest import manifest_of
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX, Constraints, DeviceInfo, Evaluation
from autoseg.core.serialize import file_digest, to_json
from autoseg.data.drawing.overlay import class_colours

SHEET = "examples.jpg"


@dataclass(frozen=True)
class BundleContext:
    """The facts of the run that a bundle records beside the evaluation.

    `declaration` is the content of run.yaml, `sheet` the model's contact sheet.
    """

    declaration: Mapping[str, Any] = field(default_factory=dict)
    device: DeviceInfo | None = None
    sheet: Path | None = None


def write_bundle(
    folder: Path,
    *,
    onnx: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
    context: BundleContext = BundleContext(),  # noqa: B008 (frozen)
) -> Path:
    """Write the bundle of one model and return its folder; an existing bundle is replaced.

    It holds model.onnx, card.md, bundle.json, measurement.json, score.json, classes.json,
    predict.py, a contact sheet if there is one, and SHA256SUMS for `sha256sum -c`. The folder is
    created atomically. Raises InputError for an evaluation without a measurement or a score, and
    for a file other than the measured one.
    """
    if evaluation.measurement is None or evaluation.score("val") is None:
        raise InputError(f"a bundle needs a measured and scored model, got {evaluation.candidate}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft.chmod(0o755)
    try:
        shutil.copyfile(onnx, draft / "model.onnx")
        # The copy is checked: the file may change meanwhile.
        if file_digest(draft / "model.onnx") != evaluation.measurement.onnx_digest:
            raise InputError(
                f"{onnx} differs from the measured file: it was changed afterwards. Let the run "
                "finish (--resume if it was stopped), then write the bundle"
            )
        _describe(draft, evaluation, classes, constraints, context)
        _write_sums(draft)
        _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def bundle_matches(folder: Path, evaluation: Evaluation) -> bool:
    """Whether the bundle in a folder has the model, measurement and scores of the evaluation."""
    measurement, expected = evaluation.measurement, _records(evaluation)
    try:
        written = {name: json.loads((folder / name).read_bytes()) for name in expected}
        digest = file_digest(folder / "model.onnx")
    except (OSError, ValueError):
        return False
    return measurement is not None and digest == measurement.onnx_digest and written == expected


@lru_cache
def predict_source() -> str:
    """The bundle's predict.py, with the code that it uses inlined: it needs no autoseg."""
    return inlined(Path(__file__).with_name("predict_script.py"))


def _records(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's measurement and scores by their file names."""
    found = {split: evaluation.score(split) for split in ("val", "test")}
    scores = {split: to_json(score) if score else None for split, score in found.items()}
    return {"measurement.json": to_json(evaluation.measurement), "score.json": scores}


def _describe(
    draft: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
    context: BundleContext,
) -> None:
    """Write all files but the model and the checksums."""
    declaration, onnx = context.declaration, draft / "model.onnx"
    manifest = manifest_of(evaluation, constraints, declaration, context.device, onnx)
    named = {"classes": [*classes], "colours": class_colours(classes)}
    records = {
        "bundle.json": to_json(manifest),
        "classes.json": {**named, "ignore_index": IGNORE_INDEX},
        **_records(evaluation),
    }
    for name, record in records.items():
        _write_json(draft / name, record)
    (draft / "predict.py").write_text(predict_source(), encoding="utf-8")
    sheet = None
    if context.sheet is not None and context.sheet.is_file():
        sheet = SHEET
        shutil.copyfile(context.sheet, draft / sheet)
    text = card(evaluation, manifest, classes, sheet)
    (draft / "card.md").write_text(text, encoding="utf-8")


def _write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    # Labels may hold a lone surrogate, which UTF-8 cannot encode: JSON has an escape for it.
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def _write_sums(folder: Path) -> None:
    files = sorted(folder.iterdir())
    lines = [f"{file_digest(file)}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _replace(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    # A folder cannot be renamed onto a non-empty one: the old one is moved aside first.
    old = draft.with_name(draft.name + "-old")
    folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old)
