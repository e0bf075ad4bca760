"""`autoseg optimize`, `remeasure` and `front`: make a run, measure it elsewhere, show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.options import (
    AcceptOption,
    AugmentOption,
    DataOption,
    DevicesOption,
    FormatOption,
    GroupColumnOption,
    GroupPatternOption,
    JsonOption,
    NeededDevicesOption,
    RemapOption,
    ResultsOption,
    RunArgument,
    SeenByOption,
    SplitColumnOption,
    run_folder,
)
from autoseg.cli.output import print_aside, print_json, print_lines
from autoseg.core.errors import InputError

if TYPE_CHECKING:
    from autoseg.core.pareto import How
    from autoseg.core.records import Evaluation
    from autoseg.run.result import Result


def optimize(
    data: DataOption = None,
    *,
    device: DevicesOption = None,
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
    sampler: Annotated[
        str | None,
        typer.Option(
            help="who proposes: autoseg, or Optuna's gp, tpe, nsga2, nsga3, random"
            "  [default: autoseg]"
        ),
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
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="measure a few networks, say what is ahead, and end"),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with a run (the newest, or --name)")
    ] = False,
    recipe: Annotated[
        list[str] | None, typer.Option(help="change the training recipe, such as augment=false")
    ] = None,
    augment: AugmentOption = None,
    format: FormatOption = None,
    remap: RemapOption = None,
    split_column: SplitColumnOption = None,
    group_column: GroupColumnOption = None,
    group_pattern: GroupPatternOption = None,
    accept_new_host_key: AcceptOption = False,
    results: ResultsOption = Path("results"),
    as_json: JsonOption = False,
) -> int:
    """Search, train, measure and confirm: the Pareto front under a latency ceiling."""
    from rich.console import Console

    from autoseg.api.optimize import Interrupted
    from autoseg.api.optimize import optimize as run_it
    from autoseg.cli.progress import Progress

    try:
        with Progress(Console(stderr=True)) as progress:
            result = run_it(
                data=data, device=device or None, max_latency=max_latency, min_iou=min_iou,
                statistic=statistic,  # type: ignore[arg-type]
                effort=effort, space=space, budget=budget, trials=trials, sampler=sampler,
                pool=pool, workers=workers, seed=seed, name=name, resume=resume, results=results,
                recipe=_recipe(recipe), augment=augment, format=format, remap=remap,
                split_column=split_column, group_column=group_column, group_pattern=group_pattern,
                dry_run=dry_run, accept_new_host_key=accept_new_host_key,
                on_start=progress.start,
            )  # fmt: skip
    except Interrupted as interrupted:
        if interrupted.result is not None and not as_json:  # else it stands in the error's JSON
            _print_result(interrupted.result, as_json=False)
        raise
    if dry_run:
        anew = {"budget": budget, "trials": trials, "workers": workers}
        _print_plan(result, anew, as_json=as_json)
        return 0
    _print_result(result, as_json=as_json)
    return 0 if result.front else 3


def remeasure(
    run: RunArgument,
    *,
    device: NeededDevicesOption = None,
    max_latency: Annotated[
        str | None,
        typer.Option(help="this device's ceiling  [default: as asked last, at first the run's]"),
    ] = None,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Measure a run's candidates on another device, without training: its own front."""
    from rich.console import Console

    from autoseg.api.remeasure import remeasure as measure_it
    from autoseg.cli.progress import Progress

    if not device:
        raise InputError("--device is needed: what the run is to be measured on")
    with Progress(Console(stderr=True)) as progress:
        result = measure_it(
            run_folder(run), device=device, max_latency=max_latency,
            accept_new_host_key=accept_new_host_key, on_start=progress.start,
        )  # fmt: skip
    _print_result(result, as_json=as_json)
    return 0 if result.front else 3


def front(
    run: RunArgument,
    *,
    device: SeenByOption = None,
    pick: Annotated[str | None, typer.Option(help="fastest, accurate or balanced")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="the table as CSV")] = False,
    as_json: JsonOption = False,
) -> int:
    """Show a run's front, or one pick from it."""
    from autoseg.run.result import Result

    result = Result.from_run(run_folder(run), device)
    if pick is not None:
        return _print_pick(result, pick, as_json=as_json)  # type: ignore[arg-type]
    if csv:
        from autoseg.run.rows import to_pandas

        table = to_pandas(result.front, result.baseline, statistic=result.constraints.statistic)
        print(table.to_csv(index=False), end="")
    else:
        _print_result(result, as_json=as_json)
    return 0 if result.front else 3


def _print_result(result: Result, *, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
        return
    from autoseg.report.console import result_lines

    print_lines(result_lines(result))


def _print_plan(result: Result, anew: Mapping[str, Any], *, as_json: bool) -> None:
    from autoseg.api.optimize import again

    if as_json:
        _print_result(result, as_json=True)
        return
    print_lines([*result.verdict, *result.plan])
    untrained = not any(e.score("val") for e in result.evaluations)
    so_far = "nothing is trained yet; " if untrained else ""
    going_on = again(result.folder, result.declaration.to_yaml(), anew)
    print_lines([f"{so_far}to go on: {going_on}"])


def _print_pick(result: Result, how: How, *, as_json: bool) -> int:
    chosen = result.pick(how)
    if as_json:
        print_json(_picked(result, how, chosen))
    elif chosen is None:
        print_aside("\n".join(result.misses()))
    else:
        folder = str(result.bundle(chosen.candidate.key))
        print_lines([f"{chosen.candidate.key}  {chosen.candidate}", result.reason(how), folder])
    return 0 if chosen else 3


def _picked(result: Result, how: How, chosen: Evaluation | None) -> dict[str, Any]:
    from autoseg.core.serialize import to_json

    explained = result.explanation()
    return {
        "pick": how,
        "key": chosen.candidate.key if chosen else None,
        "reason": result.reason(how) or None,
        "bundle": str(result.bundle(chosen.candidate.key)) if chosen else None,
        "evaluation": to_json(chosen) if chosen else None,
        "explanation": explained.to_json() if explained else None,
    }


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
