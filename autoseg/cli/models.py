"""`autoseg measure`, `predict` and `evaluate`: commands on one ONNX file."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.options import (
    AcceptOption,
    DataOption,
    DeviceOption,
    JsonOption,
    OurModelArgument,
    reads_data,
)
from autoseg.cli.output import print_aside, print_facts, print_json, print_lines, print_table
from autoseg.core.errors import CandidateError, InputError
from autoseg.core.records import (
    LATENCIES,
    OTHER_LATENCY,
    STATISTICS,
    FedInput,
    Measurement,
    MeasurePlan,
)
from autoseg.core.serialize import to_json
from autoseg.core.units import parse_duration_s, parse_frame_hw, size_text
from autoseg.search.frame_share import UNTIMED

if TYPE_CHECKING:
    from autoseg.data.dataset import Reading
    from autoseg.device.board import Board


def measure(
    model: Annotated[Path, typer.Argument(help="any ONNX file; with --candidate, a run's folder")],
    *,
    candidate: Annotated[
        str | None,
        typer.Option(help="the key of one of that run's candidates, which is timed untrained"),
    ] = None,
    device: DeviceOption = "local",
    statistic: Annotated[str, typer.Option(help="p50 p90 p95 p99 mean")] = "p90",
    latency: Annotated[
        str, typer.Option(help="model frame: what is timed for long; with --frame, the other too")
    ] = "model",
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="also time whole frames of this size, such as 1920x1080, with both resizes",
        ),
    ] = None,
    max_time: Annotated[str, typer.Option(help="stop timing after this long")] = "60s",
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="sizes of an input that the model leaves open: 1x3x256x256, or NAME=1x3x256x256"
        ),
    ] = None,
    operators: Annotated[
        bool, typer.Option("--operators", help="print the time of each operator instead")
    ] = False,
    against: Annotated[
        Path | None, typer.Option(help="another ONNX file: the operators of both, side by side")
    ] = None,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Time an ONNX file on a device: percentiles with 95 % intervals, load time, memory."""
    from autoseg.device import board_of
    from autoseg.device.device_profile import load_profile

    plan = _plan(statistic, max_time, latency=latency, frame=frame)
    shapes = _shapes(shape or [])
    for file in (None if candidate else model, against):
        _require_file(file)
    opened = board_of(load_profile(device), accept_new_host_key=accept_new_host_key, shapes=shapes)
    try:
        with closing(opened) as board, _named(model, candidate) as (name, onnx):
            if operators or against:
                others = {str(against): against} if against else {}
                _print_operators(board, {name: onnx, **others}, as_json=as_json)
            else:
                if plan.frame_hw:
                    _require_frames(onnx)
                found = board.measure(onnx, plan)
                print_facts(to_json(found) if as_json else _facts(found), as_json=as_json)
                if plan.frame_hw and found.frame is None:
                    print_aside(f"warning: {UNTIMED}")
    except CandidateError as error:  # the model is the user's input here
        raise InputError(str(error)) from error
    return 0


def _plan(statistic: str, max_time: str, *, latency: str, frame: str | None) -> MeasurePlan:
    if statistic not in STATISTICS:
        raise InputError(f"--statistic is one of {', '.join(STATISTICS)}, got {statistic!r}")
    if latency not in LATENCIES:
        raise InputError(f"--latency is one of {', '.join(LATENCIES)}, got {latency!r}")
    if latency == "frame" and frame is None:
        raise InputError("--latency frame needs the frame's size, such as --frame 1920x1080")
    frame_hw = parse_frame_hw(frame) if frame else None
    plan = MeasurePlan.confirm(statistic, latency=latency, frame_hw=frame_hw)
    return dataclasses.replace(plan, max_s=parse_duration_s(max_time, "--max-time", "60s"))


def _require_frames(onnx: Path) -> None:
    """Raises InputError for a model that cannot be run on whole frames."""
    from autoseg.export.contract import require_shipped

    try:
        require_shipped(onnx)
    except InputError as error:
        raise InputError(f"{error}; --frame resizes for such a model only") from error


def _facts(found: Measurement) -> dict[str, Any]:
    """A measurement as rows of a table: both latencies and the parts of a frame by their names."""
    facts = to_json(found)
    del facts["beside"], facts["frame"]
    if found.beside:
        other = OTHER_LATENCY[found.latency]
        facts |= {f"{other}_{name}": value for name, value in to_json(found.beside).items()}
    if frame := found.frame:
        parts = {n: ms for n, ms in to_json(frame).items() if n != "hw"}
        facts |= {"frame": size_text(frame.hw), **parts}
    return {**facts, "inputs": [_fed(each) for each in found.inputs]}


def _shapes(given: Sequence[str]) -> dict[str, list[int]]:
    """Sizes by the name of the input, "" where none was given. Raises InputError."""
    shapes: dict[str, list[int]] = {}
    for text in given:
        name, _, sizes = text.rpartition("=")
        if name in shapes or not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", sizes):
            raise InputError(
                "--shape is the sizes of one input, each over 0, such as 1x3x256x256, with its "
                f"name where several are open: NAME=1x3x256x256, once each; got {text!r}"
            )
        shapes[name] = [int(size) for size in sizes.split("x")]
    return shapes


def _fed(given: FedInput) -> str:
    sizes, declared = ("x".join(map(str, each)) for each in (given.shape, given.declared))
    was_open = f" (the model leaves {declared})" if sizes != declared else ""
    return f"{given.name}: {given.dtype} {sizes}{was_open}"


def _require_file(path: Path | None) -> None:
    if path and path.is_dir():
        raise InputError(f"{path} is a folder; for a run, name a candidate with --candidate KEY")
    if path and not path.is_file():
        raise InputError(f"there is no file {path}")


@contextmanager
def _named(model: Path, key: str | None) -> Iterator[tuple[str, Path]]:
    """The display name and file of a model; of a run's candidate, the network as it was screened.

    Raises InputError for an unknown run or candidate.
    """
    if key is None:
        yield str(model), model
        return
    from autoseg.api.assemble import task_of_run
    from autoseg.run.context import export_candidate
    from autoseg.run.result import Result
    from autoseg.train.task import network

    known = {e.candidate.key: e.candidate for e in Result.from_run(model).evaluations}
    if key not in known:
        place = f"its ledger.jsonl has the keys of all {len(known)}"
        raise InputError(f"the run {model.name!r} has no candidate {key!r}; {place}")
    task = task_of_run(model)
    with tempfile.TemporaryDirectory(prefix="autoseg-measure-") as folder:
        file = Path(folder) / f"{key}.onnx"
        export_candidate(task, network(task, known[key]), known[key], file)
        yield f"{key} (untrained)", file


def _print_operators(board: Board, models: Mapping[str, Path], *, as_json: bool) -> None:
    from autoseg.cli import operators

    found = {name: board.nodes(file) for name, file in models.items()}
    if as_json:
        rows = {name: [node.model_dump() for node in nodes] for name, nodes in found.items()}
        print_json({"models": rows})
        return
    for name, nodes in found.items():
        print_lines([f"{name}: the slowest of {len(nodes)} nodes, mean of a run"])
        print_table(operators.SLOWEST_HEAD, operators.slowest(nodes))
        print("\nby operator")
        print_table(operators.TOTALS_HEAD, operators.totals(nodes))
        print()
    if len(found) == 2:
        print("side by side, the largest difference first")
        head = operators.side_by_side_head(*map(Path, found))
        print_table(head, operators.side_by_side(*found.values()))


def predict(
    model: Annotated[
        Path,
        typer.Argument(help="a bundle, or a model of autoseg (uint8 frame in, class map out)"),
    ],
    images: Annotated[list[Path], typer.Argument(help="pictures, or folders of them")],
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="a .png for one picture, else a folder")
    ] = Path("masks"),
    overlay: Annotated[
        bool, typer.Option("--overlay", help="also write each picture with its mask over it")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Write each picture's class map as a PNG of the picture's own size."""
    from autoseg.device.runtimes import require_importable

    require_importable()
    from autoseg.api.predict import predict_files, speed_facts
    from autoseg.bundle.predict_script import speed

    times, faults, written = [], [], []
    for done in predict_files(model, images, out, overlays=overlay):
        if done.times is None:
            faults.append(done.error)
            print_aside(f"autoseg: {done.error}")
            continue
        times.append(done.times)
        written.append(str(done.task.mask))
        if not as_json:
            print_lines([str(done.task.mask)])
    if as_json:
        print_json({"masks": written, "faults": faults, **speed_facts(times)})
    else:
        print_aside(speed(times))
    return 2 if faults else 0


@reads_data
def evaluate(
    model: OurModelArgument,
    data: DataOption = None,
    *,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    reading: Reading,
    as_json: JsonOption = False,
) -> int:
    """Compute the IoU of an ONNX file on a split, at each picture's original resolution."""
    from autoseg.device.runtimes import require_importable

    require_importable()
    from autoseg.api.predict import evaluate_file

    score = to_json(evaluate_file(model, data, split, reading))
    shown = ("split", "iou", "iou_of", "iou_ci95", "class_iou", "pixel_accuracy")
    print_facts({name: score[name] for name in shown}, as_json=as_json)
    return 0
