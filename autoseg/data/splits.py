"""Groups, splits (of the folder, of index.csv, or seeded) and strata of a data set."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS, Reading, Sample
from autoseg.data.formats.common.pairing import SPLIT_NAMES
from autoseg.data.layout import Layout, Splits, listed, read_column

MIN_TRAIN_PAIRS = 2
SHARES = {"val": 0.15, "test": 0.15}


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


def make_splits(layout: Layout, reading: Reading) -> tuple[Splits, str]:
    """The three splits, and their source as a text.

    A column overrules the splits of the format. Where these are train alone, or train and test
    without a val, the missing ones are made from train under the seed, with whole groups.
    """
    seed, given = reading.seed, layout.by_split
    if column := reading.split_column:
        splits = _by_column(layout, column, _column(layout, column))
        return splits, f"index.csv, column {column}"
    if "" in given:
        return seeded_split(given[""], seed), f"made 70/15/15 under seed {seed}"
    splits = {split: given.get(split, []) for split in SPLITS}
    if not given.get("train") or "val" in given:
        return splits, "given"
    if "test" not in given:
        return seeded_split(given["train"], seed), f"train alone given: 70/15/15 under seed {seed}"
    made = seeded_split(given["train"], seed, {"val": SHARES["val"]})
    layout.warnings.append(
        f"there is no val, which decides the search: {len(made['val'])} of the"
        f" {len(given['train'])} pictures of train are taken for it"
    )
    return splits | made, f"given; val is 15 % of train under seed {seed}"


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


def seeded_split(samples: list[Sample], seed: int, shares: Mapping[str, float] = SHARES) -> Splits:
    """Splits of about these shares under the seed, the rest train, with whole groups; the same
    samples give the same split on any machine.

    A group that would make a split twice as large as wanted goes to train, unless there are only
    such groups; a single group is train.
    """
    groups: Splits = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample)
    names = sorted(groups)
    if len(names) == 1:
        return {"train": samples, **{split: [] for split in shares}}
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    splits: Splits = {split: [] for split in ("train", *shares)}
    wanted = {split: max(1, round(len(samples) * share)) for split, share in shares.items()}
    in_train: list[str] = []
    for name in order:
        size = len(groups[name])
        fits = (s for s in shares if len(splits[s]) < wanted[s] >= (len(splits[s]) + size) / 2)
        split = next(fits, "train")
        if split == "train":
            in_train.append(name)
        splits[split] += groups[name]
    for split in shares:
        if not splits[split] and len(in_train) > 1:
            smallest = min(in_train, key=lambda name: len(groups[name]))
            in_train.remove(smallest)
            splits[split] = groups[smallest]
    splits["train"] = [sample for name in in_train for sample in groups[name]]
    return {split: sorted(chosen, key=lambda s: s.stem) for split, chosen in splits.items()}


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
    _warn_of_leaks(layout, splits)
    _dissolve_single_groups(layout, splits)


def _warn_of_leaks(layout: Layout, splits: Splits) -> None:
    by_group: dict[str, set[str]] = defaultdict(set)
    by_picture: dict[str, set[str]] = defaultdict(set)
    for split, samples in splits.items():
        for sample in samples:
            by_picture[sample.image].add(split)
            if sample.group != sample.stem:  # without groups each picture is its own
                by_group[sample.group].add(split)
    shared_groups = [group for group, where in by_group.items() if len(where) > 1]
    everywhere = (sample for samples in splits.values() for sample in samples)
    shared_pictures = {s.stem for s in everywhere if len(by_picture[s.image]) > 1}
    for what, names in (("groups", shared_groups), ("pictures", shared_pictures)):
        if names:
            rule = "in more than one split make scores look better than they are"
            layout.warnings.append(f"{what} {rule}: {listed(sorted(names))}")


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


def stratified_order(samples: Sequence[Sample], seed: int) -> npt.NDArray[np.intp]:
    """Indices of all samples, ordered so that the first n hold the strata in about the shares of
    the whole, within one or two samples.

    Systematic sampling: rank k of a stratum of s samples comes at (k + u) / s, with one u in
    [0, 1) and one shuffle per stratum. The order depends on the stems, not on the order given.
    """
    rng = np.random.default_rng(seed)
    strata: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(samples)), key=lambda i: (samples[i].stem, samples[i].image)):
        strata[samples[place].stratum].append(place)
    places: list[npt.NDArray[np.intp]] = [np.empty(0, np.intp)]
    positions: list[npt.NDArray[np.float64]] = [np.empty(0)]
    for name in sorted(strata):
        members = np.array(strata[name], np.intp)
        places.append(rng.permutation(members))
        positions.append((np.arange(len(members)) + rng.random()) / len(members))
    order = np.argsort(np.concatenate(positions), kind="stable")
    return np.concatenate(places)[order]
