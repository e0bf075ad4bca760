"""Groups and splits of what was found: given ones, those of index.csv, and seeded ones."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS, Reading, Sample
from autoseg.data.layout import Found, by_column, listed, read_column, seeded_split

MIN_TRAIN = 2
Splits = dict[str, list[Sample]]


def set_groups(found: Found, reading: Reading) -> None:
    """Give each sample the group that a column or a pattern says; else it keeps the format's.

    Raises InputError for both, and for a pattern that is none.
    """
    if reading.group_column and reading.group_pattern:
        raise InputError("--group-column and --group-pattern both give groups: use one of them")
    groups: dict[str, str] = {}
    if reading.group_column:
        groups = {
            stem: group or stem for stem, group in _column(found, reading.group_column).items()
        }
    elif reading.group_pattern:
        groups = _by_pattern(found, reading.group_pattern)
    for split, samples in found.by_split.items():
        found.by_split[split] = [replace(s, group=groups.get(s.stem, s.group)) for s in samples]


def _by_pattern(found: Found, pattern: str) -> dict[str, str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--group-pattern must be a regular expression, got {pattern!r}: {error}"
        ) from error
    stems = _stems(found)
    matches = {stem: matched for stem in stems if (matched := expression.search(stem))}
    others = [stem for stem in stems if stem not in matches]
    if not matches:
        found.faults.append(
            f"--group-pattern {pattern!r} matches no picture's name; there are {listed(others)}"
        )
    elif others:
        found.warnings.append(
            f"--group-pattern {pattern!r} does not match {len(others)} names, each its own group:"
            f" {listed(others)}"
        )
    whole = {stem: stem for stem in others}
    return whole | {
        stem: (matched[1] if expression.groups else None) or matched[0] or stem
        for stem, matched in matches.items()
    }


def _stems(found: Found) -> list[str]:
    return [sample.stem for samples in found.by_split.values() for sample in samples]


def _column(found: Found, column: str) -> dict[str, str]:
    """A column of index.csv; its faults, and pictures that it lacks, are noted."""
    try:
        values = read_column(found.root, column)
    except InputError as error:
        found.faults.append(str(error))
        return {}
    stems = _stems(found)
    known = set(found.faults)
    faults = [f"{stem}: has no line in index.csv" for stem in stems if stem not in values]
    found.faults += [fault for fault in faults if fault not in known]
    unused = sorted(set(values) - set(stems))
    warning = f"index.csv has lines without a pair: {listed(unused)}"
    if unused and warning not in found.warnings:
        found.warnings.append(warning)
    return values


def make_splits(found: Found, reading: Reading) -> tuple[Splits, str]:
    """The three splits, and where they are from, in words.

    A column comes before what the format gives. Where that is train alone, or train and test
    without a val, the rest is made from train under the seed, whole groups together.
    """
    seed, given = reading.seed, found.by_split
    if column := reading.split_column:
        return by_column(found, column, _column(found, column)), f"index.csv, column {column}"
    if not found.has_splits:
        return seeded_split(given[""], seed), f"made 70/15/15 under seed {seed}"
    splits = {split: given.get(split, []) for split in SPLITS}
    if not given.get("train") or "val" in given:
        return splits, "given"
    if "test" not in given:
        return seeded_split(given["train"], seed), f"train alone given: 70/15/15 under seed {seed}"
    made = seeded_split(given["train"], seed, {"val": 0.15})
    found.warnings.append(
        f"there is no val, which decides the search: {len(made['val'])} of the"
        f" {len(given['train'])} pictures of train are taken for it"
    )
    return splits | made, f"given; val is 15 % of train under seed {seed}"


def check_splits(found: Found, splits: Splits) -> None:
    """Note what is missing in the splits, and what lies in more than one of them."""
    if not any(splits.values()):
        # What kept the pictures out of the splits is already a fault.
        splits["train"] = [sample for samples in found.by_split.values() for sample in samples]
        return
    groups = {sample.group for samples in splits.values() for sample in samples}
    if not splits["val"] and len(groups) == 1 < len(splits["train"]):
        found.faults.append(
            f"all pictures are of one group, {groups.pop()!r}, and a split keeps groups whole:"
            " give finer groups with --group-pattern ('.+' makes each picture its own)"
        )
    elif not splits["val"]:
        found.faults.append("missing split: there are no pairs in val, which decides the search")
    if len(splits["train"]) < MIN_TRAIN:
        found.faults.append(
            f"too few pictures: train needs {MIN_TRAIN} pairs or more, got {len(splits['train'])}"
        )
    if not splits["test"]:
        found.warnings.append("there are no pairs in test: the report will have no figure for it")
    _warn_of_leaks(found, splits)
    _dissolve_single_groups(found, splits)


def _warn_of_leaks(found: Found, splits: Splits) -> None:
    in_splits: dict[str, set[str]] = defaultdict(set)
    pictures: dict[str, set[str]] = defaultdict(set)
    for split, samples in splits.items():
        for sample in samples:
            pictures[sample.image].add(split)
            if sample.group != sample.stem:  # without groups each picture is its own
                in_splits[sample.group].add(split)
    leaking = sorted(group for group, where in in_splits.items() if len(where) > 1)
    if leaking:
        found.warnings.append(
            "groups in more than one split make scores look better than they are: "
            + listed(leaking)
        )
    twice = sorted({s.stem for ss in splits.values() for s in ss if len(pictures[s.image]) > 1})
    if twice:
        found.warnings.append(
            "pictures in more than one split make scores look better than they are: "
            + listed(twice)
        )


def _dissolve_single_groups(found: Found, splits: Splits) -> None:
    """Intervals over groups need two groups or more."""
    for split in ("val", "test"):
        samples = splits[split]
        if len(samples) > 1 and len({sample.group for sample in samples}) == 1:
            found.warnings.append(
                f"all pictures of {split} are of one group, {samples[0].group}: intervals of the"
                " IoU are taken over its pictures, and are narrower than over groups"
            )
            splits[split] = [replace(sample, group=sample.stem) for sample in samples]
