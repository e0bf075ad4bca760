"""`autoseg optimize`, `remeasure` and `front`: search, measure on another device, show."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.options import (
    AcceptOption,
    JsonOption,
    NeededDevicesOption,
    RunArgument,
    SeenByOption,
    declares,
    run_folder,
)
from autoseg.cli.output import print_aside, print_json, print_lines
from autoseg.core.errors import InputError
from autoseg.core.pareto import PICKS
from autoseg.core.serialize import to_json

if TYPE_CHECKING:
    from autoseg.api.session import OnStart
    from autoseg.core.pareto import How
    from autoseg.core.records import Evaluation
    from autoseg.run.declaration import Declaration
    from autoseg.run.result import Result
    from autoseg.run.store import Run


@declares
def optimize(
    *,
    context: typer.Context,
    given: dict[str, Any],
    name: Annotated[
        str | None, typer.Option(help="the run's name  [default: date and time]")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="measure a few networks, print the plan, and end"),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="continue a run (the newest, or --name)")
    ] = False,
    more: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="with --resume: go on for so long, such as 10m"),
    ] = None,
    results: Annotated[Path, typer.Option(help="the folder of all runs")] = Path("results"),
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Search, train, measure and confirm: the Pareto front under a latency ceiling."""
    from rich.console import Console

    from autoseg.api.optimize import optimize as run_it
    from autoseg.api.session import Interrupted
    from autoseg.cli.progress import Progress

    given |= {"device": given["device"] or None, "recipe": _recipe(given["recipe"])}
    try:
        with Progress(Console(stderr=True)) as progress:
            result = run_it(
                **given, name=name, resume=resume, more=more, results=results, dry_run=dry_run,
                accept_new_host_key=accept_new_host_key,
                on_start=_counted_from(context.obj, progress.start),
            )  # fmt: skip
    except Interrupted as interrupted:
        if interrupted.result is not None and not as_json:  # the error's JSON holds it
            _print_result(interrupted.result, as_json=False)
        raise
    if dry_run:
        _print_plan(result, given, as_json=as_json)
        return 0
    _print_result(result, as_json=as_json)
    return 0 if result.front else 3


def remeasure(
    run: RunArgument,
    *,
    device: NeededDevicesOption = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="the new place of its data, if moved")
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="this device's ceiling  [default: that of its last remeasurement, else the run's]"
        ),
    ] = None,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Measure a run's candidates on another device, without training: its own front."""
    from rich.console import Console

    from autoseg.api.remeasure import remeasure as measure_it
    from autoseg.cli.progress import Progress

    if not device:
        raise InputError("--device is needed: the device to measure the run on")
    with Progress(Console(stderr=True)) as progress:
        result = measure_it(
            run_folder(run), device=device, data=data, max_latency=max_latency,
            accept_new_host_key=accept_new_host_key, on_start=progress.start,
        )  # fmt: skip
    _print_result(result, as_json=as_json)
    return 0 if result.front else 3


def front(
    run: RunArgument,
    *,
    device: SeenByOption = None,
    pick: Annotated[str | None, typer.Option(help=", ".join(PICKS))] = None,
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
        command = result.resume_command
        if command and not as_json and f"    {command}" not in result.misses():
            print_lines([f"to go on: {command}"])
    return 0 if result.front else 3


def _counted_from(began_at: float, start: OnStart) -> OnStart:
    """Lets a run's time begin with the process: the interpreter's start and imports count."""

    def begin(run: Run, declaration: Declaration) -> None:
        run.count_from(began_at)
        start(run, declaration)

    return begin


def _print_result(result: Result, *, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
        return
    from autoseg.report.console import result_lines

    print_lines(result_lines(result))


def _print_plan(result: Result, given: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _print_result(result, as_json=True)
        return
    from autoseg.run.declaration import OPTIONS

    print_lines([*result.verdict, *result.plan])
    untrained = not any(e.score("val") for e in result.evaluations)
    so_far = "nothing is trained yet; " if untrained else ""
    changed = {n: v for n, v in given.items() if v is not None and OPTIONS[n].changeable}
    print_lines([f"{so_far}to go on: {result.commands.resume(**changed)}"])


def _print_pick(result: Result, how: How, *, as_json: bool) -> int:
    chosen = result.pick(how)
    if as_json:
        print_json(_picked(result, how, chosen))
    elif chosen is None:
        print_aside("\n".join([result.headline, *result.misses()]))
    else:
        ship = (
            _bundle(result, chosen) or f"its bundle is written by: {_bundle_command(result, how)}"
        )
        print_lines([f"{chosen.candidate.key}  {chosen.candidate}", result.reason(how), ship])
    return 0 if chosen else 3


def _bundle(result: Result, chosen: Evaluation) -> str | None:
    """The folder to ship; a run that is not finished may not have written it yet."""
    with suppress(InputError):
        return str(result.bundle(chosen.candidate.key))
    return None


def _bundle_command(result: Result, how: How) -> str:
    seen_by = ["--device", result.device] if result.device else []
    return shlex.join(["autoseg", "bundle", str(result.folder), "--pick", how, *seen_by])


def _picked(result: Result, how: How, chosen: Evaluation | None) -> dict[str, Any]:
    explained = result.explanation()
    return {
        "pick": how,
        "key": chosen.candidate.key if chosen else None,
        "reason": result.reason(how) or None,
        "bundle": _bundle(result, chosen) if chosen else None,
        "evaluation": to_json(chosen) if chosen else None,
        "explanation": explained.to_json() if explained else None,
    }


def _recipe(overrides: list[str] | None) -> dict[str, Any] | None:
    pairs = [text.partition("=") for text in overrides or ()]
    wrong = [name for name, equals, _ in pairs if not equals]
    if wrong:
        raise InputError(f"--recipe takes name=value, got {wrong[0]!r}; for example augment=false")
    return {name: _value(value) for name, _, value in pairs} or None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
