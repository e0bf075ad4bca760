"""Strata of samples, and an order of which every beginning is a fair subset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import Sample


def stratified_order(samples: Sequence[Sample], seed: int) -> npt.NDArray[np.intp]:
    """Indices of all samples, ordered so that each beginning holds the strata in about the shares
    of the whole, within one or two samples.

    Systematic sampling: rank k of a stratum of s samples comes at (k + u) / s, with one u in
    [0, 1) and one shuffle a stratum. The same stems give the same order whatever theirs was.
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


def strata(
    held: Sequence[Mapping[int, int]], in_train: int, names: Sequence[str]
) -> tuple[str, ...]:
    """The rarest class that each mask holds; "" where it holds none.

    `held` are pixels by class index of each mask, those of train first. Rare is what few pictures
    of train hold, and among equals what has fewer pixels there.
    """
    pictures, pixels = Counter[int](), Counter[int]()
    for counts in held[:in_train]:
        pictures.update(counts.keys())
        pixels.update(counts)
    rarity = sorted(range(len(names)), key=lambda index: (pictures[index], pixels[index]))
    rank = {index: place for place, index in enumerate(rarity)}
    rarest = (
        min((i for i in counts if i in rank), key=rank.__getitem__, default=None)
        for counts in held
    )
    return tuple("" if index is None else names[index] for index in rarest)
