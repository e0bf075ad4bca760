"""The folder that is shipped: a model and all that is needed to run it and to trust it."""

from __future__ import annotations

import ast
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoseg.records import (
    IGNORE_INDEX,
    Constraints,
    Evaluation,
    InputError,
    file_digest,
    to_json,
)

_ROOM = Path(__file__).parent
_RESIZE = _ROOM.parent / "data" / "resize.py"
_RESIZE_IMPORT = "from autoseg.data.resize import Array, resize_back, resize_frame\n"


def write_bundle(
    folder: Path,
    *,
    onnx: Path,
    evaluation: Evaluation,
    classes: Sequence[str],
    constraints: Constraints,
) -> Path:
    """Writes the bundle of one model and returns its folder; a bundle that was there is replaced.

    Holds model.onnx, card.md, measurement.json, score.json, classes.json, predict.py and, for
    `sha256sum -c`, SHA256SUMS. The folder appears whole or not at all. Raises InputError for an
    evaluation that was not measured and scored.
    """
    measurement, score = evaluation.measurement, evaluation.score("val")
    if measurement is None or score is None:
        raise InputError(f"a bundle needs a measured and scored model, got {evaluation.candidate}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft.chmod(0o755)
    try:
        shutil.copyfile(onnx, draft / "model.onnx")
        test = evaluation.score("test")
        _write_json(draft / "measurement.json", to_json(measurement))
        scores = {"val": to_json(score), "test": to_json(test) if test else None}
        _write_json(draft / "score.json", scores)
        _write_json(
            draft / "classes.json", {"classes": list(classes), "ignore_index": IGNORE_INDEX}
        )
        (draft / "predict.py").write_text(predict_source(), encoding="utf-8")
        card = _card(evaluation, classes, constraints)
        (draft / "card.md").write_text(card, encoding="utf-8")
        _write_sums(draft)
        _replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def predict_source() -> str:
    """The bundle's predict.py, which carries the one resize in itself and so needs no autoseg."""
    source = (_ROOM / "predict.py").read_text(encoding="utf-8")
    before, found, after = source.partition(_RESIZE_IMPORT)
    imports, body = _parts(_RESIZE.read_text(encoding="utf-8"))
    here = source.splitlines(keepends=True)
    missing = [line for line in imports if line not in here and "__future__" not in line]
    if not found:
        raise RuntimeError(f"predict.py must say: {_RESIZE_IMPORT}")
    return "".join([before, *missing, "\n", body.strip(), "\n\n", after.lstrip("\n")])


def _parts(source: str) -> tuple[list[str], str]:
    """The import lines of a module, and what follows them."""
    lines = source.splitlines(keepends=True)
    body = ast.parse(source).body
    nodes = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    imports = ["".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes]
    return imports, "".join(lines[nodes[-1].end_lineno :])


def _card(evaluation: Evaluation, classes: Sequence[str], constraints: Constraints) -> str:
    rows = {
        "classes": ", ".join(classes),
        "knobs": str(evaluation.candidate),
        **_promise(evaluation, constraints),
        **_cost(evaluation),
        **_timing(evaluation),
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return _CARD.format(key=evaluation.candidate.key, table=table)


_CARD = """\
# Segmentation model {key}

| | |
|---|---|
{table}

All figures are of this `model.onnx` with its trained weights. The model was chosen by its
IoU on val; test was read once, after the choice. IoU is over the whole split at each picture's own
size: the foreground's for two classes, else the mean over classes.

## Use

    pip install onnxruntime numpy pillow
    python predict.py picture.jpg -o mask.png

The input is a uint8 NHWC frame; normalization and argmax are inside. Resize as `predict.py`
does: another resize costs IoU. `sha256sum -c SHA256SUMS` tells whether the files are
as they were written.
"""


def _promise(evaluation: Evaluation, constraints: Constraints) -> dict[str, str]:
    measurement, val, test = evaluation.measurement, evaluation.score(), evaluation.score("test")
    ceiling, floor = constraints.max_latency_ms, constraints.min_iou
    rows: dict[str, str] = {"state": evaluation.state}
    if measurement:
        latency_ms = measurement.latency_ms(constraints.statistic)
        rows[f"latency {constraints.statistic}"] = f"{latency_ms:.3g} ms (ceiling {ceiling:g} ms)"
    if val:
        low, high = val.iou_ci95
        rows["IoU on val"] = f"{val.iou:.4f}, 95 % {low:.4f} to {high:.4f} (floor {floor:g})"
    if test:
        low, high = test.iou_ci95
        rows["IoU on test"] = f"{test.iou:.4f}, 95 % {low:.4f} to {high:.4f}"
    if evaluation.p_feasible is not None:
        rows["probability that both hold"] = f"{evaluation.p_feasible:.3f}"
    return rows


def _cost(evaluation: Evaluation) -> dict[str, str]:
    rows = {}
    if evaluation.cost:
        rows["parameters"] = f"{evaluation.cost.params:,}"
        rows["MACs"] = f"{evaluation.cost.macs:,}"
    if evaluation.onnx_bytes:
        rows["file"] = f"{evaluation.onnx_bytes:,} bytes"
    return rows


def _timing(evaluation: Evaluation) -> dict[str, str]:
    measurement = evaluation.measurement
    if measurement is None:
        return {}
    rows = {
        "device": measurement.device,
        "runtime": f"{measurement.runtime}, {measurement.provider}",
        "threads": str(measurement.threads),
        "measured": f"{measurement.runs} runs, {measurement.taken_at}",
        "latency p50": f"{measurement.p50_ms:.3g} ms",
        "peak memory": f"{measurement.peak_rss_bytes / 2**20:.0f} MiB",
    }
    if measurement.boards_ratio is not None:
        rows["slowest board / fastest"] = f"{measurement.boards_ratio:.3f} (p50)"
        rows["boards"] = ", ".join(f"{b.device} {b.p50_ms:.3g} ms" for b in measurement.boards)
    if evaluation.agreement is not None:
        share = f"{100 * evaluation.agreement:.2f} % of pixels on a sample of val"
        rows["class maps as on the machine that trained"] = share
    if measurement.flags:
        rows["mind"] = "; ".join(measurement.flags)
    return rows


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
