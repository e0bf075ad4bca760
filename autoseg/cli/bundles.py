"""`autoseg bundle` and `verify`: copy a model out of a run, and check its promises."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.options import (
    AcceptOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    SeenByOption,
    reads_data,
    run_folder,
)
from autoseg.cli.output import print_aside, print_json, print_lines, print_table
from autoseg.core.pareto import PICKS
from autoseg.core.serialize import to_json
from autoseg.core.text import one_line
from autoseg.core.units import parse_duration_s

if TYPE_CHECKING:
    from autoseg.api.verify import Check, Verified
    from autoseg.data.dataset import Reading
    from autoseg.run.result import Result


def bundle(
    run: RunArgument,
    *,
    pick: Annotated[
        str, typer.Option(help=f"{', '.join(PICKS)}, or the key of a model on the front")
    ] = PICKS[0],
    device: SeenByOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="the folder to make  [default: the run's name and a key]"
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Copy one model of a run's front to a folder of its own, which runs anywhere."""
    from autoseg.api.bundle import take
    from autoseg.run.result import Result

    result = Result.from_run(run_folder(run), device)
    if not result.front:
        return _missed(result, as_json=as_json)
    taken = take(result, pick, out)
    if as_json:
        facts = {"key": taken.key, "folder": str(taken.folder), "reason": taken.reason}
        print_json({**facts, "new": taken.new, "explanation": None})
        return 0
    print_lines([str(taken.folder), f"{taken.key}: {taken.reason}"])
    if not taken.new:
        print("the folder existed already, with identical files")
    return 0


def _missed(result: Result, *, as_json: bool) -> int:
    explained = result.explanation()
    if as_json:
        nothing = {"key": None, "folder": None, "reason": None, "new": False}
        print_json({**nothing, "explanation": explained.to_json() if explained else None})
    print_aside("\n".join([result.headline, *result.misses()]))
    return 3


@reads_data
def verify(
    bundle: Annotated[Path, typer.Argument(help="a bundle's folder")],
    *,
    device: DeviceOption = "local",
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="the ceiling to judge by  [default: the card's, on its own kind of device]"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="labelled pictures  [default: the parcels, if the card's data are the parcels]"
        ),
    ] = None,
    reading: Reading,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Check a bundle's files, measure its latency and IoU again, and judge its promises."""
    from autoseg.device.runtimes import require_importable

    require_importable()
    from autoseg.api.verify import verify as verify_it
    from autoseg.device import resolve

    ceiling = max_latency and parse_duration_s(max_latency, "--max-latency", "33ms")
    with closing(resolve(device, accept_new_host_key=accept_new_host_key)) as target:
        found = verify_it(
            bundle, target, data=data, reading=reading,
            max_latency_ms=1e3 * ceiling if ceiling else None,
        )  # fmt: skip
    if as_json:
        print_json(_json(found))
    else:
        _print(found)
    return {True: 0, False: 3, None: 2}[found.holds]


def _print(found: Verified) -> None:
    bundle = found.bundle
    print_lines([f"{bundle.folder}: {bundle.files} files are unchanged"])
    if bundle.strays:
        print_lines([f"other files, not checked: {', '.join(bundle.strays)}"])
    head = ["promise", "card", "found", "95 % interval", "holds"]
    print_table(head, [_row(check) for check in found.checks])
    print_lines(f"{check.name}: {check.why}" for check in found.checks)
    for flag in found.measurement.flags:
        print(f"warning: {one_line(flag)}")
    device = f"{one_line(found.device.name)} ({one_line(found.device.model)})"
    print({True: f"holds on {device}", False: f"does not hold on {device}", None: _NOTHING}[
        found.holds
    ])  # fmt: skip


_NOTHING = (
    "nothing was judged: give --max-latency to judge the latency here, or --data with the card's "
    "own data to judge the IoU"
)


def _row(check: Check) -> list[str]:
    def shown(value: float) -> str:
        return f"{value:.4f}" if check.name.startswith("IoU") else f"{value:.3g} ms"

    between = f"{shown(check.ci95[0])} to {shown(check.ci95[1])}" if check.ci95 else "-"
    found = "-" if check.found is None else shown(check.found)
    holds = {True: "yes", False: "NO", None: "not judged"}[check.holds]
    return [check.name, shown(check.card), found, between, holds]


def _json(found: Verified) -> dict[str, Any]:
    return {
        "bundle": str(found.bundle.folder),
        "key": found.bundle.manifest.key,
        "holds": found.holds,
        "checks": [asdict(check) for check in found.checks],
        "device": to_json(found.device),
        "measurement": to_json(found.measurement),
        "scores": {split: to_json(score) for split, score in found.scores.items()},
        "strays": list(found.bundle.strays),
    }
