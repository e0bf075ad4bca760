"""Groups and splits of a data set: those of the folder or of index.csv, or seeded ones."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS, Reading, Sample
from autoseg.data.formats.common.pairing import SPLIT_NAMES
from autoseg.data.layout import Layout, Splits, listed, read_column
from autoseg.data.leaks import warn_of_leaks
from autoseg.data.occurring import Held
from autoseg.data.stratification import SHARES, stratified_split

MIN_TRAIN_PAIRS = 2


def set_groups(layout: Layout, reading: Reading) -> None:
    """Set the group of each sample by the user's column or pattern; else the format's stays.

    Raises InputError if both are given, and for a faulty pattern.
    """
    if reading.group_column and reading.group_pattern:
        raise InputError("--group-column and --group-pattern both give groups: use one of them")
    groups: dict[str, str] = {}
    if reading.group_column:
        column = _column(layout, reading.group_column)
        groups = {stem: group or stem for stem, group in column.items()}
    elif reading.group_pattern:
        groups = _by_pattern(layout, reading.group_pattern)
    for split, samples in layout.by_split.items():
        layout.by_split[split] = [replace(s, group=groups.get(s.stem, s.group)) for s in samples]


def _by_pattern(layout: Layout, pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        rule = "--group-pattern must be a regular expression"
        raise InputError(f"{rule}, got {pattern!r}: {error}") from error
    stems = [sample.stem for sample in layout.samples]
    matches = {stem: expression.search(stem) for stem in stems}
    others = [stem for stem in stems if not matches[stem]]
    if len(others) == len(stems):
        layout.faults.append(
            f"--group-pattern {pattern!r} matches no picture's name; there are {listed(others)}"
        )
    elif others:
        layout.warnings.append(
            f"--group-pattern {pattern!r} does not match {len(others)} names, each its own group:"
            f" {listed(others)}"
        )
    return {
        stem: ((expression.groups and matched[1]) or matched[0] or stem) if matched else stem
        for stem, matched in matches.items()
    }


def _column(layout: Layout, column: str) -> dict[str, str]:
    """A column of index.csv; its faults, and pictures that it lacks, are added to the layout."""
    try:
        values = read_column(layout.root, column)
    except InputError as error:
        layout.faults.append(str(error))
        return {}
    stems = [sample.stem for sample in layout.samples]
    known = set(layout.faults)
    absent = [stem for stem in stems if stem not in values]
    fault = f"index.csv has no line for pictures: {listed(absent)}"
    layout.faults += [fault] if absent and fault not in known else []
    unused = sorted(set(values) - set(stems))
    warning = f"index.csv has lines without a pair: {listed(unused)}"
    if unused and warning not in layout.warnings:
        layout.warnings.append(warning)
    return values


def make_splits(layout: Layout, reading: Reading, held: Held) -> tuple[Splits, str]:
    """The three splits, and their source as a text.

    A column overrules the splits of the format. Where these are train alone, or train and test
    without a val, the missing ones are made from train under the seed, with whole groups, and
    stratified by the classes that the masks hold.
    """
    seed, given = reading.seed, layout.by_split
    made_from = partial(_stratified, held, seed)
    if column := reading.split_column:
        splits = _by_column(layout, column, _column(layout, column))
        return splits, f"index.csv, column {column}"
    if "" in given:
        return made_from(given[""]), f"made 70/15/15 under seed {seed}"
    splits = {split: given.get(split, []) for split in SPLITS}
    if not given.get("train") or "val" in given:
        return splits, "given"
    if "test" not in given:
        return made_from(given["train"]), f"train alone given: 70/15/15 under seed {seed}"
    made = made_from(given["train"], {"val": SHARES["val"]})
    layout.warnings.append(
        f"there is no val, which decides the search: {len(made['val'])} of the"
        f" {len(given['train'])} pictures of train are taken for it"
    )
    return splits | made, f"given; val is 15 % of train under seed {seed}"


def _stratified(
    held: Held, seed: int, samples: list[Sample], shares: Mapping[str, float] = SHARES
) -> Splits:
    classes = [held.get((sample.image, sample.mask), frozenset()) for sample in samples]
    return stratified_split(samples, classes, seed, shares)


def _by_column(layout: Layout, column: str, values: Mapping[str, str]) -> Splits:
    """The samples of all folders in the splits that a column of index.csv gives."""
    splits: Splits = {split: [] for split in SPLITS}
    seen: set[str] = set()
    twice: list[str] = []
    unknown: dict[str, list[str]] = defaultdict(list)
    for sample in layout.samples:
        stated = values.get(sample.stem)
        split = None if stated is None else SPLIT_NAMES.get(stated.lower(), stated)
        if sample.stem in seen:
            twice.append(sample.stem)
        elif split not in SPLITS and split is not None:
            unknown[split].append(sample.stem)
        elif split is not None:
            splits[split].append(sample)
        seen.add(sample.stem)
    if twice:
        rule = "pictures in two folders, and index.csv names each once"
        layout.faults.append(f"{rule}: {listed(twice)}")
    if unknown:
        got = listed([f"{name!r} for {listed(stems)}" for name, stems in unknown.items()])
        layout.faults.append(f"index.csv: {column} must be train, val and test, got {got}")
    return splits


def check_splits(layout: Layout, splits: Splits) -> None:
    """Add missing splits to the faults, and items in several splits to the warnings."""
    if not any(splits.values()):
        # The reason that no picture is in a split is a fault already.
        splits["train"] = layout.samples
        return
    groups = {sample.group for samples in splits.values() for sample in samples}
    if not splits["val"] and len(groups) == 1 < len(splits["train"]):
        layout.faults.append(
            f"all pictures are of one group, {groups.pop()!r}, and a split keeps groups whole:"
            " give finer groups with --group-pattern ('.+' makes each picture its own)"
        )
    elif not splits["val"]:
        layout.faults.append("missing split: there are no pairs in val, which decides the search")
    if (count := len(splits["train"])) < MIN_TRAIN_PAIRS:
        rule = f"train needs {MIN_TRAIN_PAIRS} pairs or more"
        layout.faults.append(f"too few pictures: {rule}, got {count}")
    if not splits["test"]:
        layout.warnings.append("there are no pairs in test: the report will have no figure for it")
    warn_of_leaks(layout, splits)
    _dissolve_single_groups(layout, splits)


def _dissolve_single_groups(layout: Layout, splits: Splits) -> None:
    """Make each picture its own group if all of a split are of one: intervals need two."""
    for split in ("val", "test"):
        samples = splits[split]
        if len(samples) > 1 and len({sample.group for sample in samples}) == 1:
            layout.warnings.append(
                f"all pictures of {split} are of one group, {samples[0].group}: intervals of the"
                " IoU are taken over its pictures, and are narrower than over groups"
            )
            splits[split] = [replace(sample, group=sample.stem) for sample in samples]
