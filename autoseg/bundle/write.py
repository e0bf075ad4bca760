"""The folder that is shipped: a model and all that is needed to run it and to trust it."""

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
from autoseg.data.drawing.palette import class_colours

SHEET = "examples.jpg"


@dataclass(frozen=True)
class Background:
    """What a run knows beside the evaluation: what run.yaml says, the device that all was measured
    on, and what was recorded of the model for people to look at.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    device: DeviceInfo | None = None
    exhibit: Diagnostics | None = None
    sheet: Path | None = None


def write_bundle(
    folder: Path,
    *,
    onnx: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
    background: Background = Background(),  # noqa: B008 (frozen)
) -> Path:
    """Writes the bundle of one model and returns its folder; a bundle that was there is replaced.

    Holds model.onnx, card.md, bundle.json, measurement.json, score.json, classes.json, predict.py,
    a contact sheet where there is one and, for `sha256sum -c`, SHA256SUMS. The folder appears
    whole or not at all. Raises InputError for an evaluation that was not measured and scored, and
    for a file that is not the one that was measured.
    """
    if evaluation.measurement is None or evaluation.score("val") is None:
        raise InputError(f"a bundle needs a measured and scored model, got {evaluation.candidate}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft.chmod(0o755)
    try:
        shutil.copyfile(onnx, draft / "model.onnx")
        _require_measured(onnx, draft / "model.onnx", evaluation.measurement)
        _write_facts(draft, evaluation, classes)
        (draft / "predict.py").write_text(predict_source(), encoding="utf-8")
        _describe(draft, evaluation, classes, constraints, background)
        _write_sums(draft)
        _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def tells_of(folder: Path, evaluation: Evaluation) -> bool:
    """Whether the bundle in a folder has this very evaluation's model and figures."""
    measurement = evaluation.measurement
    try:
        written = {name: json.loads((folder / name).read_bytes()) for name in _figures(evaluation)}
        digest = file_digest(folder / "model.onnx")
    except (OSError, ValueError):
        return False
    said = json.loads(json.dumps(_figures(evaluation)))  # JSON has no tuples
    return measurement is not None and digest == measurement.onnx_digest and written == said


@lru_cache
def predict_source() -> str:
    """The bundle's predict.py, which carries what it uses in itself and so needs no autoseg."""
    return inlined(Path(__file__).with_name("predict_script.py"))


def _write_facts(draft: Path, evaluation: Evaluation, classes: Sequence[str]) -> None:
    for name, figures in _figures(evaluation).items():
        _write_json(draft / name, figures)
    named = {
        "classes": list(classes),
        "colours": class_colours(classes),
        "ignore_index": IGNORE_INDEX,
    }
    _write_json(draft / "classes.json", named)


def _figures(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation's figures by the file that holds them."""
    found = {split: evaluation.score(split) for split in ("val", "test")}
    scores = {split: to_json(score) if score else None for split, score in found.items()}
    return {"measurement.json": to_json(evaluation.measurement), "score.json": scores}


def _require_measured(onnx: Path, copy: Path, measurement: Measurement) -> None:
    """Raises InputError unless what was copied is the file whose figures these are."""
    if file_digest(copy) != measurement.onnx_digest:
        raise InputError(
            f"{onnx} is not the file that was measured: it was trained on or changed since. Let "
            "the run end, with --resume where it was stopped, and take the bundle then"
        )


def _describe(
    draft: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
    background: Background,
) -> None:
    """bundle.json and card.md, and the contact sheet."""
    onnx = draft / "model.onnx"
    manifest = manifest_of(
        evaluation,
        constraints,
        background.said,
        device=background.device,
        onnx_digest=file_digest(onnx),
        onnx_bytes=onnx.stat().st_size,
    )
    _write_json(draft / "bundle.json", to_json(manifest))
    sheet = background.sheet
    if sheet is not None and sheet.is_file():
        shutil.copyfile(sheet, draft / SHEET)
    text = card(
        evaluation, manifest, classes, class_colours(classes), background.exhibit,
        sheet=SHEET if (draft / SHEET).exists() else None,
    )  # fmt: skip
    (draft / "card.md").write_text(text, encoding="utf-8")


def _write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    # Half a character, as some labels hold it, becomes the escape that JSON has for it.
    path.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def _write_sums(folder: Path) -> None:
    files = sorted(folder.iterdir())
    lines = [f"{file_digest(file)}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _replace(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
        return
    # A folder cannot be renamed onto a full one: the old one steps aside first.
    old = draft.with_name(draft.name + "-old")
    folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old)
