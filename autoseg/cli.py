"""The command line: parses, prints, sets the exit code. stdout is the result, stderr the progress.

Exit codes: 0 the front meets both constraints, 3 nothing meets them, 2 bad input, 1 failure,
130 interrupted (resumable).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer

from autoseg.records import AutosegError, CandidateError, InputError, parse_duration_s

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Finds the fastest accurate-enough segmentation network for a device.",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at a data set.")
app.add_typer(data_app, name="data")

RunArgument = Annotated[Path, typer.Argument(help="a run's folder, or its name under results/")]
ResultsOption = Annotated[Path, typer.Option(help="where runs are kept")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output on stdout")]
DeviceOption = Annotated[str, typer.Option(help="local, a profile's name or a profile's file")]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: no traceback for anything that a user did. Always raises SystemExit."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    try:
        code = app(args=arguments, standalone_mode=False)
    except typer.Abort:
        code = 130
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except AutosegError as error:
        code = _report(error)
    except Exception as error:  # what is left is a usage error of the parser, or a defect of ours
        if not hasattr(error, "format_message"):
            raise
        print(f"autoseg: {error.format_message()}", file=sys.stderr)
        code = 2
    sys.exit(code)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is now: the live panel puts itself there, to stay in one piece."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _report(error: AutosegError) -> int:
    print(f"autoseg: {error}", file=sys.stderr)
    if isinstance(error, InputError):
        return 2
    return 130 if type(error).__name__ == "Interrupted" else 1


@app.command()
def optimize(
    data: Annotated[
        Path | None, typer.Option(help="labelled pictures; without it, the synthetic parcels")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="local (default), a profile's name or file")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="the ceiling, with its unit  [default: 33ms]")
    ] = None,
    min_iou: Annotated[
        float | None, typer.Option(help="the floor, a fraction  [default: 0.95]")
    ] = None,
    statistic: Annotated[
        str | None, typer.Option(help="the promised latency: p50 p90 p95 p99 mean  [default: p90]")
    ] = None,
    effort: Annotated[
        str | None, typer.Option(help="entry, intermediate, expert  [default: intermediate]")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="a space's name or file  [default: fast_scnn]")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="time for all of it, such as 2h  [default: 8m]")
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(help="candidates to look at; without --budget, however long it takes"),
    ] = None,
    pool: Annotated[str | None, typer.Option(help="who trains  [default: local]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="trainings side by side  [default: one a core]")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="for data splits, proposals and training  [default: 0]")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="the run's name  [default: date and time]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a run (the newest, or --name)")
    ] = False,
    recipe: Annotated[
        list[str] | None, typer.Option(help="change the training recipe, such as augment=false")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="the column of index.csv that holds the split")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="the column of index.csv that holds the group")
    ] = None,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> int:
    """Search, train, measure and confirm: the Pareto front under a latency ceiling."""
    from rich.console import Console

    from autoseg.optimize import optimize as run_it
    from autoseg.progress import Progress

    with Progress(Console(stderr=True)) as progress:
        result = run_it(
            data=data, device=device, max_latency=max_latency, min_iou=min_iou,
            statistic=statistic,  # type: ignore[arg-type]
            effort=effort, space=space, budget=budget, trials=trials, pool=pool, workers=workers,
            seed=seed, name=name, resume=resume, results=results, recipe=_recipe(recipe),
            split_column=split_column, group_column=group_column, on_start=progress.start,
        )  # fmt: skip
    _print_result(result, as_json=as_json)
    return 0 if result.front else 3


@app.command()
def front(
    run: RunArgument,
    pick: Annotated[str | None, typer.Option(help="fastest, accurate or balanced")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="the table as CSV")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show a run's front, or one pick from it."""
    from autoseg.result import Result

    result = Result.from_run(_run(run))
    if pick is not None:
        return _print_pick(result, pick, as_json=as_json)
    if csv:
        from autoseg.report.tables import to_pandas

        table = to_pandas(result.front, result.baseline, statistic=result.constraints.statistic)
        print(table.to_csv(index=False), end="")
    else:
        _print_result(result, as_json=as_json)
    return 0 if result.front else 3


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="a space's name or file")] = None,
) -> int:
    """List the search spaces, or show one: its knobs, and how many candidates an effort opens."""
    from autoseg import shipped
    from autoseg.space import EFFORTS, load_space

    if name is None:
        for known in shipped.names("search_spaces"):
            print(known)
        return 0
    space = load_space(name)
    print(f"{space.name}: network {space.network}")
    _table(
        ["knob", "choices", "baseline", "effort"],
        [[k.name, " ".join(map(str, k.choices)), str(k.baseline), k.effort] for k in space.knobs],
    )
    print("candidates: " + ", ".join(f"{effort} {space.count(effort)}" for effort in EFFORTS))
    return 0


@app.command()
def devices() -> int:
    """List the shipped device profiles."""
    from autoseg import shipped

    for known in shipped.names("devices"):
        print(known)
    return 0


@app.command()
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
    facts = to_json(measurement)
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _table(["figure", "value"], [[name, _shown(value)] for name, value in facts.items()])
    return 0


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="a model of ours (uint8 frame in, class map out)")],
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


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="a model of ours (uint8 frame in, class map out)")],
    data: Annotated[
        Path | None, typer.Option(help="labelled pictures; without it, the synthetic parcels")
    ] = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    split_column: Annotated[str | None, typer.Option()] = None,
    group_column: Annotated[str | None, typer.Option()] = None,
    as_json: JsonOption = False,
) -> int:
    """IoU of an ONNX file on a split, at the original resolution of each picture."""
    from autoseg.predict import evaluate_file
    from autoseg.records import to_json

    score = evaluate_file(model, data, split, split_column=split_column, group_column=group_column)
    facts = {
        k: v
        for k, v in to_json(score).items()
        if k in ("split", "iou", "iou_ci95", "class_iou", "pixel_accuracy")
    }
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _table(["figure", "value"], [[name, _shown(value)] for name, value in facts.items()])
    return 0


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(help="a folder with images/ and masks/")],
    split_column: Annotated[
        str | None, typer.Option(help="the column of index.csv that holds the split")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option(help="the column of index.csv that holds the group")
    ] = None,
) -> int:
    """Say what was understood of a data set, and every fault in it."""
    from autoseg.data.dataset import Reading
    from autoseg.data.folder import inspect
    from autoseg.report.console import inspection_lines

    reading = Reading(split_column=split_column, group_column=group_column)
    inspection = inspect(folder, reading)
    for line in inspection_lines(inspection):
        print(line)
    for warning in inspection.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for fault in inspection.faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 2 if inspection.faults else 0


def _print_result(result: Any, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return
    from autoseg.report.console import result_lines

    for line in result_lines(result):
        print(line)


def _print_pick(result: Any, how: str, *, as_json: bool) -> int:
    from autoseg.front import reason
    from autoseg.records import to_json

    chosen = result.pick(how)
    if chosen is None:
        print("\n".join(result.misses()), file=sys.stderr)
        return 3
    if as_json:
        print(json.dumps(to_json(chosen), indent=1))
    else:
        print(f"{chosen.candidate.key}  {chosen.candidate}")
        print(reason(how, chosen, result.constraints))  # type: ignore[arg-type]
        print(result.bundle(chosen.candidate.key))
    return 0


def _run(path: Path) -> Path:
    here = (path / "run.yaml").exists() or path.is_absolute()
    return path if here else Path("results") / path.name


def _recipe(overrides: list[str] | None) -> dict[str, Any] | None:
    if not overrides:
        return None
    pairs = [text.partition("=") for text in overrides]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise InputError(f"--recipe takes name=value, got {wrong[0]!r}; for example augment=false")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_shown(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console

    from autoseg.report.console import table_lines

    for line in table_lines(head, rows, width=Console().width):
        print(line)


if __name__ == "__main__":
    main()
