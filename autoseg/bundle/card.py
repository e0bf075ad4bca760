"""The model card of a bundle, in Markdown: what it is, its figures, its limits, how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoseg.bundle.manifest import DataFacts, Manifest
from autoseg.core.diagnostics import Diagnostics
from autoseg.core.feasibility import latency_ci_ms
from autoseg.core.records import Evaluation, Measurement, Score, Statistic
from autoseg.core.text import markdown_name as plain
from autoseg.core.text import markdown_table
from autoseg.core.units import parse_hw
from autoseg.data.drawing.overlay import Colour


def card(
    evaluation: Evaluation,
    manifest: Manifest,
    classes: Sequence[str],
    colours: Sequence[Colour | None],
    exhibit: Diagnostics | None = None,
    *,
    sheet: str | None = None,
) -> str:
    """The card's text; `sheet` is the file name of a contact sheet beside it.

    Names of classes, of the data and of devices may hold anything: they stand in it as text.
    """
    height, width = parse_hw(manifest.knobs["resolution"])
    parts = [
        f"# Segmentation model {plain(manifest.key)}",
        _what(manifest, classes, (height, width)),
        "## Figures",
        markdown_table(["figure", "value", "95 % interval"], _figures(evaluation, manifest)),
        markdown_table(["class", "colour", "IoU on val", "IoU on test"],
              _classes(evaluation, classes, colours)),
        _ABOUT_FIGURES,
        f"![pictures of val with what the model makes of them]({sheet})" if sheet else "",
        "## Measured on",
        markdown_table(["", ""], _measured(evaluation, manifest, exhibit).items()),
        "## Trained on",
        markdown_table(["", ""], _data(manifest.data).items()),
        "## Limits",
        _limits(evaluation, manifest, (height, width)),
        "## Use",
        _USE.format(height=height, width=width, channels=manifest.knobs.get("channels", 3)),
        "## Made with",
        markdown_table(["", ""], _made(evaluation, manifest).items()),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(manifest: Manifest, classes: Sequence[str], hw: tuple[int, int]) -> str:
    constraints, device = manifest.constraints, manifest.device
    where = f" on {plain(device.name)} ({plain(device.model)})" if device else ""
    names = ", ".join(plain(name) for name in classes[:20])
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    return (
        f"Gives each pixel of a picture one of {len(classes)} classes: {names}{more}. Its input "
        f"is {hw[0]} pixels high and {hw[1]} wide. It was chosen to answer within "
        f"{constraints.max_latency_ms:g} ms ({constraints.statistic}){where} with an IoU of "
        f"at least {constraints.min_iou:g}."
    )


def _figures(evaluation: Evaluation, manifest: Manifest) -> list[list[str]]:
    constraints, measurement = manifest.constraints, evaluation.measurement
    rows = []
    if measurement:
        for name, value_ms in _latencies(measurement).items():
            asked = measurement.supported(constraints.statistic) == name
            limit = f" (ceiling {constraints.max_latency_ms:g} ms)" if asked else ""
            low, high = latency_ci_ms(measurement, name)
            # Of the far tail it is an estimate, which is worth its place only for a promise.
            known = asked or name not in ("p95", "p99")
            between = f"{low:.3g} to {high:.3g} ms" if known else "-"
            rows.append([f"latency {name}", f"{value_ms:.3g} ms{limit}", between])
    floor = {"val": f" (floor {constraints.min_iou:g})", "test": ""}
    for split, score in _scores(evaluation).items():
        low, high = score.iou_ci95
        rows.append([f"IoU on {split}", f"{score.iou:.4f}{floor[split]}",
                     f"{low:.4f} to {high:.4f}"])  # fmt: skip
        rows.append([f"pixels right on {split}", f"{100 * score.pixel_accuracy:.2f} %", "-"])
    if evaluation.p_feasible is not None:
        rows.append(["probability that both promises hold", f"{evaluation.p_feasible:.3f}", "-"])
    return rows


def _latencies(measurement: Measurement) -> dict[Statistic, float]:
    by_name: dict[Statistic, float | None] = {
        "p50": measurement.p50_ms,
        "p90": measurement.p90_ms,
        "p95": measurement.p95_ms,
        "p99": measurement.p99_ms,
        "mean": measurement.mean_ms,
    }
    return {name: value for name, value in by_name.items() if value is not None}


def _scores(evaluation: Evaluation) -> dict[str, Score]:
    found = {split: evaluation.score(split) for split in ("val", "test")}
    return {split: score for split, score in found.items() if score}


def _classes(
    evaluation: Evaluation, classes: Sequence[str], colours: Sequence[Colour | None]
) -> list[list[str]]:
    scores = _scores(evaluation)
    return [
        [plain(name), f"`{_hex(colours[index])}`" if colours[index] else "not tinted"]
        + [_class_iou(scores.get(split), index) for split in ("val", "test")]
        for index, name in enumerate(classes)
    ]


def _class_iou(score: Score | None, index: int) -> str:
    known = score is not None and index < len(score.class_iou)
    value = score.class_iou[index] if score and known else None
    return "-" if value is None else f"{value:.4f}"


def _hex(colour: Colour | None) -> str:
    return "#" + bytes(colour or ()).hex()


_ABOUT_FIGURES = """\
All figures are of this `model.onnx` with its trained weights. The model was chosen by its IoU on
val; test was read once, after the choice. IoU is over the whole split at each picture's own size:
the foreground's for two classes, else the mean over classes."""


def _measured(
    evaluation: Evaluation, manifest: Manifest, exhibit: Diagnostics | None
) -> dict[str, str]:
    measurement, device = evaluation.measurement, manifest.device
    if measurement is None:
        return {}
    rows = {
        "device": plain(measurement.device),
        "processor": plain(device.model) if device else "not recorded",
        "runtime": f"{plain(measurement.runtime)}, {plain(measurement.provider)}",
        "threads": str(measurement.threads),
        "measured": f"{measurement.runs} runs, {plain(measurement.taken_at)}",
        "loading": f"{measurement.load_ms:.3g} ms",
        "peak memory": f"{measurement.peak_rss_bytes / 2**20:.0f} MiB",
    }
    if measurement.boards_ratio is not None:
        rows["slowest board / fastest"] = f"{measurement.boards_ratio:.3f} (p50)"
        each = (f"{plain(b.device)} {b.p50_ms:.3g} ms" for b in measurement.boards)
        rows["boards"] = ", ".join(each)
    if evaluation.agreement is not None:
        share = f"{100 * evaluation.agreement:.2f} % of pixels on a sample of val"
        rows["class maps as on the machine that trained"] = share
    if measurement.flags:
        rows["mind"] = "; ".join(map(plain, measurement.flags))
    return rows | _frame(exhibit)


def _frame(exhibit: Diagnostics | None) -> dict[str, str]:
    frame = exhibit.frame if exhibit else None
    if frame is None:
        return {}
    height, width = frame.picture_hw
    parts = (
        f"resize {frame.resize_ms:.3g} ms, inference {frame.inference_ms:.3g} ms, "
        f"resize back {frame.resize_back_ms:.3g} ms"
    )
    return {f"a picture of {width}x{height}": f"{parts} ({plain(frame.where)})"}


def _data(data: DataFacts | None) -> dict[str, str]:
    if data is None:
        return {"data": "not recorded"}
    counts = ", ".join(f"{count:,} {plain(split)}" for split, count in data.pictures.items())
    rows = {
        "data": f"{plain(data.name)} (digest {plain(data.digest)})",
        "pictures": counts or "not recorded",
        "licence": plain(data.licence) if data.licence else _NO_LICENCE,
    }
    if data.reading:
        rows["read with"] = ", ".join(
            f"{name.replace('_', '-')} {plain(value)}" for name, value in data.reading.items()
        )
    return rows


_NO_LICENCE = "unknown: ask whose the pictures are before you pass the model on"


def _limits(evaluation: Evaluation, manifest: Manifest, hw: tuple[int, int]) -> str:
    measurement = evaluation.measurement
    threads = measurement.threads if measurement else 1
    many = "one thread" if threads == 1 else f"{threads} threads"
    where = plain(manifest.device.name) if manifest.device else "the device"
    lines = [
        f"The latency is of one frame of {hw[1]}x{hw[0]} at a time, on {many} of {where}, while "
        "nothing else ran there. Other load, heat, another clock or another version of the "
        "runtime change it. Reading and resizing the picture come on top.",
        "Each pixel gets one of the classes above. A thing that it was never shown gets one too, "
        "without a warning.",
        f"A picture of any size is brought to {hw[1]}x{hw[0]}, whatever its shape: what is only "
        "a few pixels there is lost, and outlines are as coarse as that.",
        "The IoU holds for pictures like those it was trained on. Another camera, light or place "
        "needs pictures of its own: `autoseg verify` tells the IoU on them.",
        "Many candidates were compared on val, which flatters the chosen one a little; "
        + ("test was not." if evaluation.score("test") else "there was no test to read."),
    ]
    return "\n".join(f"- {line}" for line in lines)


_USE = """\
    python -m pip install onnxruntime numpy pillow
    python predict.py picture.jpg -o mask.png
    python predict.py folder -o masks --overlay

A mask has the size of its picture, and its values are the class indices of `classes.json`. From
Python, beside `predict.py`:

```python
from predict import load, predict, read_picture, save

model = load()
mask = predict(model, read_picture("picture.jpg"))  # uint8 [H, W]: class indices
save(mask, "mask.png")
```

A frame of a camera is an array uint8 [H, W, 3] in the order RGB: `predict(model, frame)`. Resize
as `predict.py` does, which is as in training: another resize costs IoU. Normalization and argmax
are inside the model. Where frames have its size already, onnxruntime alone will do:

```python
import onnxruntime

model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(mask,) = model.run(None, {{"frame": frame}})  # frame: uint8 [1, {height}, {width}, {channels}]
```

`sha256sum -c SHA256SUMS` tells whether the files are as they were written; `autoseg verify`
repeats latency and IoU."""


def _made(evaluation: Evaluation, manifest: Manifest) -> dict[str, str]:
    rows = {"space": plain(manifest.space), "knobs": _pairs(manifest.knobs)}
    if evaluation.cost:
        rows["parameters"] = f"{evaluation.cost.params:,}"
        rows["MACs"] = f"{evaluation.cost.macs:,}"
    val = evaluation.score("val")
    if val and val.epoch:
        rows["training"] = f"{val.epoch} epochs, seed {val.seed}"
    rows["model.onnx"] = f"{manifest.onnx_bytes:,} bytes, SHA-256 `{manifest.onnx_digest}`"
    if manifest.versions:
        rows["versions"] = _pairs(manifest.versions, " ")
    return rows


def _pairs(facts: Mapping[str, object], between: str = " = ") -> str:
    return ", ".join(f"{plain(name)}{between}{plain(value)}" for name, value in facts.items())
