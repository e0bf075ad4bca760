"""`autoseg devices`: lists devices, checks one, sets one up, trusts its host key."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoseg.cli.options import AcceptOption, JsonOption
from autoseg.cli.output import print_aside, print_json, print_lines, print_table
from autoseg.core import yaml_files
from autoseg.core.errors import AutosegError, DeviceError, InputError

if TYPE_CHECKING:
    from autoseg.device.board import Board
    from autoseg.device.channel_step import ChannelProbe
    from autoseg.device.check import CheckReport
    from autoseg.device.device_profile import Profile
    from autoseg.device.setup import BoardState, Shell

app = typer.Typer(invoke_without_command=True)

NameArgument = Annotated[
    str, typer.Argument(help="a profile's name or file, or user@host[:port]", show_default=False)
]
YesOption = Annotated[bool, typer.Option("--yes", help="do not ask")]


@app.callback()
def devices(context: typer.Context, *, as_json: JsonOption = False) -> int:
    """List the devices with a profile; check one, set it up, trust its host key."""
    if context.invoked_subcommand is None:
        from autoseg.device.device_profile import load_profile

        profiles = [load_profile(name) for name in yaml_files.names("devices")]
        head = ["name", "kind", "where", "description"]
        rows = [[each.name, each.kind, _where(each), each.description] for each in profiles]
        if as_json:
            print_json({"devices": [dict(zip(head, row, strict=True)) for row in rows]})
        else:
            print_table(head, rows)
    return 0


@app.command()
def check(
    name: NameArgument,
    *,
    probe: Annotated[
        bool, typer.Option("--probe", help="also find the multiple of channels that it prefers")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="write the profile with the channel step found by --probe to this file"),
    ] = None,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Show a device's facts and faults; exit code 1 if its figures cannot be trusted yet."""
    from autoseg.device import board_of
    from autoseg.device.check import check_device
    from autoseg.device.device_profile import load_profile, write_profile

    if save:
        _require_writable(save, probe=probe)
    opened = board_of(load_profile(name), accept_new_host_key=accept_new_host_key)
    with closing(opened) as board, tempfile.TemporaryDirectory(prefix="autoseg-probe-") as folder:
        found = check_device(board, name, print_aside, Path(folder) if probe else None)
    if save and found.probe:
        step = {"channel_step": found.probe.step}
        write_profile(board.profile.model_copy(update=step), save)
        print_aside(f"written: {save}; use it with --device {save}")
    elif probe and not found.probe:
        print_aside("no channel step found" + (f"; {save} was not written" if save else ""))
    print_json(_as_json(name, found)) if as_json else _print(name, found)
    return 0 if found.trustworthy else 1


def _require_writable(save: Path, *, probe: bool) -> None:
    """Raises InputError before a probe takes minutes, not after it."""
    if not probe:
        raise InputError("--save writes the result of --probe; give both")
    if save.exists():
        raise InputError(f"--save {save} exists already; remove it, or give another name")
    if not save.parent.is_dir():
        raise InputError(f"--save {save}: there is no folder {save.parent}; make it first")
    if not os.access(save.parent, os.W_OK):
        raise InputError(f"--save {save}: {save.parent} cannot be written; give another folder")


@app.command()
def setup(
    name: NameArgument,
    *,
    yes: YesOption = False,
    accept_new_host_key: AcceptOption = False,
    as_json: JsonOption = False,
) -> int:
    """Install onnxruntime, numpy and Pillow on a board, in an environment of their own."""
    from autoseg.device.board import Board
    from autoseg.device.device_profile import load_profile
    from autoseg.device.ssh import SshLauncher

    profile = load_profile(name)
    if profile.kind == "local":
        raise InputError(f"{name} is this machine; its onnxruntime was installed with autoseg")
    launcher = SshLauncher(profile, accept_new_host_key=accept_new_host_key)
    board = Board(profile, launcher)
    try:
        report = print_aside if as_json else _print_line
        done, state = _set_up(name, board, launcher.run_command, report, yes=yes)
    except DeviceError as error:
        message = str(error)
        named = message.startswith(board.launcher.name)
        raise error if named else DeviceError(f"{board.launcher.name}: {message}") from error
    finally:
        board.close()
    if as_json:
        versions = {"onnxruntime": state.ready, "pillow": state.used.pillow}
        print_json({"device": name, **versions, "steps": done})
    else:
        has = f"onnxruntime {state.ready} and Pillow {state.used.pillow}"
        print_lines([f"{'' if done else 'nothing to do: '}{name} has {has}"])
    return 0


def _set_up(
    name: str, board: Board, shell: Shell, report: Callable[[str], None], *, yes: bool
) -> tuple[list[str], BoardState]:
    """The steps that were done, none if there was nothing to do, and the board's state."""
    from autoseg.device.findings import PROVIDER_FIXES
    from autoseg.device.setup import inspect_board, install, steps

    named = board.profile.python
    found = inspect_board(shell, named)
    planned = steps(found, named)
    if not planned:
        return [], found
    for line in (f"on {board.launcher.name}:", *(f"  {step}" for step in planned)):
        report(line)
    if not yes:
        _confirm("Do that?", f"`autoseg devices setup {name}` changes the board")
    with board.connection.held("setting it up"):
        done = install(shell, found, print_aside)
    for provider in board.profile.providers:
        if provider != "CPU":
            print_aside(f"the profile asks for {provider}: {PROVIDER_FIXES[provider]}")
            break
    return planned, done


@app.command()
def trust(name: NameArgument, *, yes: YesOption = False, as_json: JsonOption = False) -> int:
    """Show the fingerprint of a board's host key, and store the key if you confirm it."""
    from autoseg.device.device_profile import load_profile
    from autoseg.device.ssh import add_host_key, fetch_host_keys

    profile = load_profile(name)
    if profile.kind == "local":
        raise InputError(f"{name} is this machine, which needs no host key")
    report = print_aside if as_json else _print_line
    remembered = []
    # A board behind jump hosts has a key for each hop.
    for key in fetch_host_keys(profile):
        if key.known:
            break
        report(f"{key.hop.name} shows the host key {key}")
        if not yes:
            text = "Is that what `ssh-keygen -lf` prints for the key in its /etc/ssh?"
            _confirm(text, "a host key is accepted only after a comparison by hand")
        remembered.append({"host": key.hop.name, "key": str(key), "file": str(add_host_key(key))})
        report(f"stored in {remembered[-1]['file']}")
    if as_json:
        print_json({"device": name, "key": str(key), "remembered": remembered})
    else:
        print_lines([f"{name} is trusted: {key}"])
    return 0


def _confirm(question: str, reason: str) -> None:
    """Asks the user. Raises AutosegError for a no, InputError where stdin is not a terminal."""
    if not sys.stdin.isatty():
        raise InputError(f"{reason}: run it in a terminal, or give --yes")
    if not typer.confirm(question, err=True):
        raise AutosegError("nothing was changed")


def _print_line(line: str) -> None:
    print_lines([line])


def _where(profile: Profile) -> str:
    if profile.kind == "local":
        return "this machine"
    user = f"{profile.user}@" if profile.user else ""
    return f"{user}{profile.host}" + (f":{profile.port}" if profile.port else "")


def _print(name: str, found: CheckReport) -> None:
    rows = [[name, value or "-"] for name, value in found.facts.items()]
    if found.aa_result:
        low, high = found.aa_result.ratio_ci
        text = f"{100 * (found.aa_result.ratio - 1):+.1f} % ({100 * (low - 1):+.1f} to "
        rows.append(["the same model twice", f"{text}{100 * (high - 1):+.1f} %)"])
    print_table([name, ""], rows)
    if found.probe:
        _print_probe(found.probe)
    for severe, title in ((True, "fix first:"), (False, "notes:")):
        findings = [finding for finding in found.findings if finding.severe == severe]
        if findings:
            print(f"\n{title}")
        for finding in findings:
            print_lines([f"  - {finding.text}\n    {finding.fix}"])
    verdict = "can be trusted" if found.trustworthy else "cannot be trusted yet"
    print_lines(["", f"{name} {verdict}"])


def _print_probe(probe: ChannelProbe) -> None:
    from autoseg.device.channel_step import KERNELS, WIDTHS

    head = ["multiple of", "widths", *KERNELS, "all that it allows"]
    rows = [
        [
            str(step),
            " ".join(map(str, widths)),
            *[f"{probe.losses[kind, step]:.2f}" for kind in KERNELS],
            f"{probe.scores[step]:.2f}" + (" <" if step == probe.step else ""),
        ]
        for step, widths in WIDTHS.items()
    ]
    print("\ntime of a multiply-accumulate by width (1.00: multiples of 16 and 32 on average)")
    print_table(head, rows)
    print(f"channel_step: {probe.step}")


def _as_json(name: str, found: CheckReport) -> dict[str, Any]:
    trust, probe = found.aa_result, found.probe
    return {
        "device": name,
        "trustworthy": found.trustworthy,
        "facts": found.facts,
        "trust": trust and {"ratio": trust.ratio, "ci95": trust.ratio_ci, "pairs": trust.pairs},
        "findings": [asdict(each) for each in found.findings],
        "probe": probe
        and {
            "channel_step": probe.step,
            "times_ms": {f"{kind} {width}": ms for (kind, width), ms in probe.times_ms.items()},
        },
    }
