"""Strata: splits that hold each class in about the same shares, and orders of samples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import Sample
from autoseg.data.layout import Splits

SHARES = {"val": 0.15, "test": 0.15}
# Counted beside the classes: every picture has it, so that splits get their sizes.
_ANY = -1


def stratified_split(
    samples: Sequence[Sample],
    classes: Sequence[Collection[int]],
    seed: int,
    shares: Mapping[str, float] = SHARES,
) -> Splits:
    """Splits of about these shares under the seed, the rest train, with whole groups; the same
    samples and `classes` (those in each sample's mask) give the same split on any machine.

    Groups are placed by the rarest class in them, each into the split that lacks most of that
    class (Sechidis et al. 2011, On the stratification of multi-label data). Then a class that
    train, val or test lacks is brought there, in this order, while it has groups enough. A group
    that would make a split twice as large as wanted goes to train, unless there are only such
    groups; a single group is train.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        groups[sample.group].append(place)
    names = sorted(groups)
    if len(names) == 1:
        return {"train": list(samples), **{split: [] for split in shares}}
    order = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    held = {
        name: Counter(one for place in groups[name] for one in {_ANY, *classes[place]})
        for name in order
    }
    placing = _Placing(held, _wanted(len(samples), shares))
    for rarest in placing.rarity:
        for name in placing.members[rarest]:
            if name not in placing.split_of:
                placing.put(name, placing.split_that_lacks(rarest, name))
    placing.mend()
    splits: Splits = {split: [] for split in placing.wanted}
    for name, split in placing.split_of.items():
        splits[split] += [samples[place] for place in groups[name]]
    return {split: sorted(chosen, key=lambda s: s.stem) for split, chosen in splits.items()}


def _wanted(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Pictures by split, train first."""
    wanted = {split: max(1, round(count * share)) for split, share in shares.items()}
    return {"train": max(1, count - sum(wanted.values())), **wanted}


@dataclass
class _Placing:
    """Groups on their way into splits; `held` are pictures by class, for each group."""

    held: Mapping[str, Counter[int]]
    wanted: Mapping[str, int]
    split_of: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.members: dict[int, list[str]] = defaultdict(list)
        for name, classes in self.held.items():
            for one in sorted(classes):
                self.members[one].append(name)
        # Any last: it stands for groups without a class.
        self.rarity = sorted(self.members, key=lambda c: (len(self.members[c]), c == _ANY, c))
        self.total = Counter[int]()
        for classes in self.held.values():
            self.total.update(classes)
        self.pictures = {split: Counter[int]() for split in self.wanted}
        self.groups = {split: Counter[int]() for split in self.wanted}

    def put(self, name: str, split: str) -> None:
        """Place a group in a split, or move it there."""
        held = self.held[name]
        if before := self.split_of.get(name):
            self.pictures[before].subtract(held)
            self.groups[before].subtract(held.keys())
        self.split_of[name] = split
        self.pictures[split].update(held)
        self.groups[split].update(held.keys())

    def split_that_lacks(self, one: int, name: str) -> str:
        """The split that lacks most pictures of a class, then of any, and can take the group."""
        fitting = [split for split in self.wanted if self._can_take(split, name)]
        return max(fitting, key=lambda split: (self._lack(split, one), self._lack(split, _ANY)))

    def _can_take(self, split: str, name: str) -> bool:
        """Whether a group leaves a split under twice the size that is wanted; train has none."""
        size = self.pictures[split][_ANY] + self.held[name][_ANY]
        return split == "train" or size <= 2 * self.wanted[split]

    def _lack(self, split: str, one: int) -> int:
        """In whole numbers, which are equal on any machine: pictures times all pictures."""
        all_pictures = self.total[_ANY]
        return self.total[one] * self.wanted[split] - self.pictures[split][one] * all_pictures

    def mend(self) -> None:
        """Bring classes to the splits that lack them; earlier splits may take from later ones."""
        for place, split in enumerate(self.wanted):
            later = [*self.wanted][place + 1 :]
            for one in self.rarity:
                if self.groups[split][one] or not (spare := self._spare(one, later)):
                    continue
                smallest = min(spare, key=lambda name: self.held[name][_ANY])
                if self._can_take(split, smallest):
                    self.put(smallest, split)

    def _spare(self, one: int, later: Sequence[str]) -> list[str]:
        """Groups with a class whose own split keeps all classes without them, or is `later`."""
        return [
            name
            for name in self.members[one]
            if self.split_of[name] in later or self._is_spare(self.held[name], self.split_of[name])
        ]

    def _is_spare(self, classes: Iterable[int], split: str) -> bool:
        return all(self.groups[split][one] > 1 for one in classes)


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
