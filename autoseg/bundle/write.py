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
from autoseg.core.diagnostics import Diagnostics
from autoseg.core.errors import InputError
from autoseg.core.records import IGNORE_INDEX, Constraints, DeviceInfo, Evaluation, Measurement
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
    diagnostics: Diagnostics | None = None
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
        _require_measured(onnx, draft / "model.onnx", evaluation.measurement)
        _write_records(draft, evaluation, classes)
        (draft / "predict.py").write_text(predict_source(), encoding="utf-8")
        _write_description(draft, evaluation, classes, constraints, context)
        _write_sums(draft)
        _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def bundle_matches(folder: Path, evaluation: Evaluation) -> bool:
    """Whether the bundle in a folder has the model, measurement and scores of the evaluation."""
    measurement = evaluation.measurement
    try:
        written = {name: json.loads((folder / name).read_bytes()) for name in _records(evaluation)}
        digest = file_digest(folder / "model.onnx")
    except (OSError, ValueError):
        return False
    expected = json.loads(json.dumps(_records(evaluation)))  # JSON has no tuples
    return measurement is not None and digest == measurement.onnx_digest and written == expected


@lru_cache
def predict_source() -> str:
    """The bundle's predict.py, with the code that it uses inlined: it needs no autoseg."""
    return inlined(Path(__file__).with_name("predict_script.py"))


def _write_records(draft: Path, evaluation: Evaluation, classes: Sequence[str]) -> None:
    for name, record in _records(evaluation).items():
        _write_json(draft / name, record)
    content = {
        "classes": list(classes),
        "colours": class_colours(classes),
        "ignore_index": IGNORE_INDEX,
    }
    _write_json(draft / "classes.json", content)


def _records(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's measurement and scores by their file names."""
    found = {split: evaluation.score(split) for split in ("val", "test")}
    scores = {split: to_json(score) if score else None for split, score in found.items()}
    return {"measurement.json": to_json(evaluation.measurement), "score.json": scores}


def _require_measured(onnx: Path, copy: Path, measurement: Measurement) -> None:
    """Raises InputError unless the copied file is the measured one."""
    if file_digest(copy) != measurement.onnx_digest:
        raise InputError(
            f"{onnx} differs from the measured file: it was changed afterwards. Let the run "
            "finish (--resume if it was stopped), then write the bundle"
        )


def _write_description(
    draft: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
    context: BundleContext,
) -> None:
    """Write bundle.json, card.md and the contact sheet."""
    onnx = draft / "model.onnx"
    manifest = manifest_of(
        evaluation,
        constraints,
        context.declaration,
        device=context.device,
        onnx_digest=file_digest(onnx),
        onnx_bytes=onnx.stat().st_size,
    )
    _write_json(draft / "bundle.json", to_json(manifest))
    sheet = context.sheet
    if sheet is not None and sheet.is_file():
        shutil.copyfile(sheet, draft / SHEET)
    text = card(
        evaluation, manifest, classes, class_colours(classes), context.diagnostics,
        sheet=SHEET if (draft / SHEET).exists() else None,
    )  # fmt: skip
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
