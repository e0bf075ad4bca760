"""The `autoseg data` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoseg.cli.options import AugmentOption, JsonOption, reads_data
from autoseg.cli.output import print_aside, print_json, print_lines
from autoseg.core.errors import InputError
from autoseg.core.units import parse_hw

if TYPE_CHECKING:
    from autoseg.data.dataset import Dataset, Reading

app = typer.Typer(no_args_is_help=True, help="Check, preview and convert data sets.")

FolderArgument = Annotated[Path, typer.Argument(help="a folder of pictures and masks, or a .zip")]
# The inspection cache of `optimize`: unchanged pictures are not decoded to inspect them again.
INSPECTED = Path("results/.cache/inspected")


@app.command()
@reads_data
def check(folder: FolderArgument, *, reading: Reading, as_json: JsonOption = False) -> int:
    """Show how a data set is read, and every fault in it; decodes all files."""
    from autoseg.data.inspection import inspect
    from autoseg.report.console import inspection_facts, inspection_lines

    inspection = inspect(folder, reading)
    if as_json:
        print_json(inspection_facts(inspection))
    else:
        print_lines(inspection_lines(inspection))
    for warning in inspection.warnings:
        print_aside(f"warning: {warning}")
    for fault in inspection.faults:
        print_aside(f"fault: {fault}")
    return 2 if inspection.faults else 0


@app.command()
@reads_data
def convert(
    folder: FolderArgument,
    out: Annotated[Path, typer.Argument(help="a new or empty folder")],
    *,
    reading: Reading,
    as_json: JsonOption = False,
) -> int:
    """Write a data set in the plain layout: images/, masks/, classes.txt, index.csv."""
    from autoseg.data.convert import check_free, convert

    check_free(out)
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out} lies inside the data set {folder}: give a folder outside it")
    dataset = _load(folder, reading)
    done = convert(dataset, out)
    counts = {"copied": done.copied, "encoded": done.encoded, "renamed": done.renamed}
    if as_json:
        print_json({"folder": str(done.folder), "pairs": dict(done.pairs), **counts})
        return 0
    pairs = ", ".join(f"{split} {count}" for split, count in done.pairs.items())
    print_lines([f"{done.folder}: {pairs}"])
    print(f"pictures: {done.copied} copied, {done.encoded} written as PNG, {done.renamed} renamed")
    return 0


@app.command()
@reads_data
def preview(
    folder: Annotated[
        Path | None,
        typer.Argument(help="a folder or a .zip; without it, the synthetic parcels"),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="the file to write")] = Path(
        "preview.png"
    ),
    split: Annotated[str, typer.Option(help="train, val or test")] = "train",
    count: Annotated[
        int | None, typer.Option(help="pictures  [default: 24, or 8 with --augmented]")
    ] = None,
    augmented: Annotated[
        bool, typer.Option("--augmented", help="also show each picture as augmented for training")
    ] = False,
    augment: AugmentOption = None,
    resolution: Annotated[
        str | None, typer.Option(help="input size for --augmented, N or HxW  [default: 256]")
    ] = None,
    reading: Reading,
    as_json: JsonOption = False,
) -> int:
    """Draw a contact sheet: pictures with their masks over them."""
    from autoseg.data.drawing.preview import draw_preview, save_preview

    for name, value in (("resolution", resolution), ("augment", augment)):
        if value is not None and not augmented:
            raise InputError(f"--{name} needs --augmented: give both, or neither")
    input_hw = parse_hw(resolution or 256) if augmented else None
    dataset = _load(folder, reading)
    wanted = (8 if augmented else 24) if count is None else count
    sheet = draw_preview(dataset, split, wanted, reading.seed, input_hw, augment=augment)
    save_preview(sheet, out)
    print_json({"file": str(out)}) if as_json else print_lines([str(out)])
    return 0


def _load(folder: Path | None, reading: Reading) -> Dataset:
    from autoseg import data

    return data.load(folder, reading, cache_dir=INSPECTED if INSPECTED.is_dir() else None)
