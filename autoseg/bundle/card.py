"""The model card of a bundle in Markdown: description, results, limits, use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoseg.bundle.manifest import DataFacts, Manifest
from autoseg.core.records import Evaluation, Measurement, Score
from autoseg.core.text import markdown_name as plain
from autoseg.core.text import markdown_table
from autoseg.core.units import HW, parse_hw, size_text
from autoseg.data.drawing.overlay import class_colours
from autoseg.run.rows import table_rows


def card(
    evaluation: Evaluation,
    manifest: Manifest,
    classes: Sequence[str],
    sheet: str | None,
) -> str:
    """The card's text; `sheet` is the file name of a contact sheet beside it.

    Names of classes, data and devices are escaped: they may contain any characters.
    """
    height, width = parse_hw(manifest.knobs["resolution"])
    parts = [
        f"# Segmentation model {plain(manifest.key)}",
        _description(manifest, classes, (height, width)),
        "## Results",
        markdown_table(["quantity", "value", "95 % interval"], _results(evaluation, manifest)),
        markdown_table(["class", "colour", "IoU on val", "IoU on test"],
              _classes(evaluation, classes)),
        _ABOUT_RESULTS.format(iou_of=plain(_iou_of(evaluation))),
        f"![images of val with truth, prediction and errors]({sheet})" if sheet else "",
        "## Measured on",
        markdown_table(["", ""], _measured(evaluation, manifest).items()),
        "## Trained on",
        markdown_table(["", ""], _data(manifest.data).items()),
        "## Limits",
        _limits(evaluation, manifest, (height, width)),
        "## Use",
        _USE.format(height=height, width=width, channels=manifest.knobs.get("channels", 3)),
        _deep_grey(manifest.data),
        "## Made with",
        markdown_table(["", ""], _made(evaluation, manifest).items()),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _description(manifest: Manifest, classes: Sequence[str], hw: tuple[int, int]) -> str:
    constraints, device = manifest.constraints, manifest.device
    where = f" on {plain(device.name)} ({plain(device.model)})" if device else ""
    names = ", ".join(plain(name) for name in classes[:20])
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    return (
        f"Segments an image into {len(classes)} classes: {names}{more}. Its input is {hw[0]} "
        f"pixels high and {hw[1]} wide. It was selected for a latency of at most "
        f"{constraints.ceiling} ({constraints.promised}){where} and an IoU of at "
        f"least {constraints.min_iou:g}."
    )


def _results(evaluation: Evaluation, manifest: Manifest) -> list[list[str]]:
    constraints = manifest.constraints
    (row,) = table_rows([evaluation], constraints.statistic)
    promised, cells = row.latency(constraints.statistic).statistic, []
    for name in ("p50", "p90", "p95", "p99", "mean"):
        latency = row[f"latency_{name}_ms"]
        if latency.value is None:
            continue
        limit = f" (ceiling {constraints.max_latency_ms:g} ms)" if name == promised else ""
        # The intervals of p95 and p99 are estimates: they are shown only for the promise.
        known = name == promised or name not in ("p95", "p99")
        interval = f"{latency.interval_text('.3g')} ms" if known else "-"
        cells.append([latency.name, f"{latency.value:.3g} ms{limit}", interval])
    other = row.beside(constraints.statistic)
    if other.value is not None:
        cells.append([other.name, f"{other.value:.3g} ms", f"{other.interval_text('.3g')} ms"])
    floor = {"val": f" (floor {constraints.min_iou:g})", "test": ""}
    for split, score in _scores(evaluation).items():
        iou = f"{score.iou:.4f}{floor[split]}"
        cells.append([f"IoU on {split}", iou, row[f"iou_{split}"].interval_text(".4f")])
        cells.append([f"pixel accuracy on {split}", f"{100 * score.pixel_accuracy:.2f} %", "-"])
    if evaluation.p_feasible is not None:
        cells.append(["P(ceiling and floor hold)", f"{evaluation.p_feasible:.3f}", "-"])
    return cells


def _scores(evaluation: Evaluation) -> dict[str, Score]:
    return {s: score for s in ("val", "test") if (score := evaluation.score(s))}


def _classes(evaluation: Evaluation, classes: Sequence[str]) -> list[list[str]]:
    scores = _scores(evaluation)
    return [
        [plain(name), f"`#{bytes(colour).hex()}`" if colour else "not tinted"]
        + [_class_iou(scores.get(split), index) for split in ("val", "test")]
        for index, (name, colour) in enumerate(zip(classes, class_colours(classes), strict=True))
    ]


def _class_iou(score: Score | None, index: int) -> str:
    value = score.class_iou[index] if score and index < len(score.class_iou) else None
    return "-" if value is None else f"{value:.4f}"


_ABOUT_RESULTS = """\
All results are of this `model.onnx` with its trained weights. The model was selected by its IoU on
val; test was evaluated once, after the selection. IoU is computed over the whole split at the
original size of each image: it is that of {iou_of}."""


def _iou_of(evaluation: Evaluation) -> str:
    told = [score.iou_of for score in evaluation.scores if score.iou_of]
    return told[-1] if told else "the foreground for two classes, else the mean over classes"


def _measured(evaluation: Evaluation, manifest: Manifest) -> dict[str, str]:
    measurement, device = evaluation.measurement, manifest.device
    if measurement is None:
        return {}
    rows = {
        "device": plain(measurement.device),
        "processor": plain(device.model) if device else "not recorded",
        "runtime": f"{plain(measurement.runtime)}, {plain(measurement.provider)}",
        "threads": str(measurement.threads),
        "measured": f"{measurement.runs} runs, {plain(measurement.taken_at)}",
        "loading time": f"{measurement.load_ms:.3g} ms",
        "peak memory": f"{measurement.peak_rss_bytes / 2**20:.0f} MiB",
    }
    if measurement.boards_ratio is not None:
        rows["slowest board / fastest"] = f"{measurement.boards_ratio:.3f} (p50)"
        each = (f"{plain(b.device)} {b.p50_ms:.3g} ms" for b in measurement.boards)
        rows["boards"] = ", ".join(each)
    if evaluation.agreement is not None:
        share = f"{100 * evaluation.agreement:.2f} % of pixels on a sample of val"
        rows["class maps equal to the training machine's"] = share
    if measurement.flags:
        rows["warnings"] = "; ".join(map(plain, measurement.flags))
    return rows | _frame(measurement)


def _frame(measurement: Measurement) -> dict[str, str]:
    frame = measurement.frame
    if frame is None:
        return {"frame": "not timed"}
    parts = (
        f"resize {frame.resize_ms:.3g} ms, inference {frame.inference_ms:.3g} ms, "
        f"resize back {frame.resize_back_ms:.3g} ms (medians)"
    )
    return {f"a frame of {size_text(frame.hw)}": parts}


def _data(data: DataFacts | None) -> dict[str, str]:
    if data is None:
        return {"data": "not recorded"}
    counts = ", ".join(f"{count:,} {plain(split)}" for split, count in data.pictures.items())
    rows = {
        "data": f"{plain(data.name)} (digest {plain(data.digest)})",
        "pictures": counts or "not recorded",
        "licence": plain(data.licence) if data.licence else _NO_LICENCE,
    }
    if data.grey_range:
        low, high = data.grey_range
        rows["grey pictures of 16 bits"] = f"values {low} to {high} become 0 to 255"
    if data.reading:
        each = (f"{k.replace('_', '-')} {plain(value)}" for k, value in data.reading.items())
        rows["read with"] = ", ".join(each)
    return rows


_NO_LICENCE = "unknown: check the rights to the images before you distribute the model"


def _limits(evaluation: Evaluation, manifest: Manifest, hw: HW) -> str:
    measurement = evaluation.measurement
    threads = measurement.threads if measurement else 1
    many = "one thread" if threads == 1 else f"{threads} threads"
    where = plain(manifest.device.name) if manifest.device else "the device"
    test = "test was not." if evaluation.score("test") else "there was no test split."
    lines = [
        f"The latency is that of one {_timed(manifest, hw)} at a time, on {many} of {where}, "
        "without other load. Other load, heat, another clock or another version of the runtime "
        f"change it. {_not_timed(manifest, measurement)}",
        "Each pixel gets one of the classes above. Objects of other classes get one of them too, "
        "without a warning.",
        f"An image of any size and aspect ratio is resized to {hw[1]}x{hw[0]}: objects of a few "
        "pixels at that size are lost, and outlines have that resolution.",
        "The IoU holds for images like the training data. Another camera, light or place needs an "
        "evaluation on its own images: `autoseg verify` gives the IoU on them.",
        "Many candidates were compared on val, which biases the selected model's IoU on val "
        f"upwards slightly; {test}",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _timed(manifest: Manifest, hw: HW) -> str:
    constraints = manifest.constraints
    if constraints.latency == "model" or constraints.frame_hw is None:
        return f"input of {size_text(hw)}"
    return f"frame of {size_text(constraints.frame_hw)}, with both its resizes"


def _not_timed(manifest: Manifest, measurement: Measurement | None) -> str:
    if manifest.constraints.latency == "frame":
        return "Reading the image takes additional time."
    frame = measurement.frame if measurement else None
    takes = f": {frame.resizes_ms:.3g} ms for one of {size_text(frame.hw)}" if frame else ""
    return f"Reading the image, resizing it and resizing its mask take additional time{takes}."


_USE = """\
    python -m pip install onnxruntime numpy pillow
    python predict.py picture.jpg -o mask.png
    python predict.py folder -o masks --overlay

A mask has the size of its image, and its values are the class indices of `classes.json`. From
Python, in the folder of `predict.py`:

```python
from predict import load, predict, read_picture, save

model = load()
mask = predict(model, read_picture("picture.jpg"))  # uint8 [H, W]: class indices
save(mask, "mask.png")
```

A camera frame is an array uint8 [H, W, 3] in RGB order: `predict(model, frame)`. Use the resize of
`predict.py`, which is that of training: another resize lowers the IoU. Normalization and argmax
are inside the model. For frames of the model's input size, onnxruntime is sufficient:

```python
import onnxruntime

model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(mask,) = model.run(None, {{"frame": frame}})  # frame: uint8 [1, {height}, {width}, {channels}]
```

`sha256sum -c SHA256SUMS` checks the files; `autoseg verify` measures latency and IoU again."""


def _deep_grey(data: DataFacts | None) -> str:
    """How pictures of 16 bits are read, where the model was trained on such."""
    if data is None or data.grey_range is None:
        return ""
    low, high = data.grey_range
    return (
        "The model was trained on grey pictures of 16 bits, whose values "
        f"{low} to {high} become 0 to 255; others are clipped. `predict.py` does the same with a "
        'picture of 16 bits. From Python: `read_picture("picture.png", grey_range_of(model))`; '
        f"for a frame of 16 bits `stretched(frame, ({low}, {high}))` in all three channels."
    )


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
