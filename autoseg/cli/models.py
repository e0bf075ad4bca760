"""`autoseg measure`, `predict` and `evaluate`: what is done with one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoseg.cli.options import (
    DataOption,
    DeviceOption,
    FormatOption,
    GroupColumnOption,
    GroupPatternOption,
    JsonOption,
    OurModelArgument,
    RemapOption,
    SeedOption,
    SplitColumnOption,
)
from autoseg.cli.output import print_facts
from autoseg.records import CandidateError, InputError, parse_duration_s


def measure(
    model: Annotated[Path, typer.Argument(help="any ONNX file")],
    device: DeviceOption = "local",
    statistic: Annotated[str, typer.Option(help="p50 p90 p95 p99 mean")] = "p90",
    max_time: Annotated[str, typer.Option(help="stop timing after this long")] = "60s",
    as_json: JsonOption = False,
) -> int:
    """Time an ONNX file on a device: percentiles with 95 % intervals, load time, memory."""
    import dataclasses

    from autoseg.device import resolve
    from autoseg.records import STATISTICS, MeasurePlan, to_json

    if statistic not in STATISTICS:
        raise InputError(f"--statistic is one of {', '.join(STATISTICS)}, got {statistic!r}")
    if not model.is_file():
        raise InputError(f"there is no file {model}")
    max_s = parse_duration_s(max_time, "--max-time", "60s")
    target = resolve(device)
    try:
        plan = dataclasses.replace(MeasurePlan.confirm(statistic), max_s=max_s)
        measurement = target.measure(model, plan)
    except CandidateError as error:  # here the model is the user's
        raise InputError(str(error)) from error
    finally:
        target.close()
    print_facts(to_json(measurement), as_json=as_json)
    return 0


def predict(
    model: OurModelArgument,
    images: Annotated[list[Path], typer.Argument(help="pictures")],
    out: Annotated[Path, typer.Option("-o", "--out", help="where the masks are written")] = Path(
        "masks"
    ),
) -> int:
    """Write each picture's class map as a PNG of the picture's own size."""
    from autoseg.predict import predict_files

    for path in predict_files(model, images, out):
        print(path)
    return 0


def evaluate(
    model: OurModelArgument,
    data: DataOption = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    format: FormatOption = None,
    remap: RemapOption = None,
    split_column: SplitColumnOption = None,
    group_column: GroupColumnOption = None,
    group_pattern: GroupPatternOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """IoU of an ONNX file on a split, at the original resolution of each picture."""
    from autoseg.data.dataset import Reading
    from autoseg.predict import evaluate_file
    from autoseg.records import to_json

    reading = Reading(format, remap, split_column, group_column, group_pattern, seed)
    score = evaluate_file(model, data, split, reading)
    facts = {
        k: v
        for k, v in to_json(score).items()
        if k in ("split", "iou", "iou_ci95", "class_iou", "pixel_accuracy")
    }
    print_facts(facts, as_json=as_json)
    return 0
