"""Strata of samples, and an order whose first n samples are a stratified subset for every n."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autoseg.data.dataset import Sample


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


def rarest_classes(
    pixels_by_class: Sequence[Mapping[int, int]], train_count: int, names: Sequence[str]
) -> tuple[str, ...]:
    """The rarest class in each mask; "" for a mask without any.

    `pixels_by_class` is given for each mask, those of train first. The rarest class is that in the
    fewest pictures of train, and of several such classes the one with the fewest pixels there.
    """
    pictures, pixels = Counter[int](), Counter[int]()
    for counts in pixels_by_class[:train_count]:
        pictures.update(counts.keys())
        pixels.update(counts)
    rarity = sorted(range(len(names)), key=lambda index: (pictures[index], pixels[index]))
    rank = {index: place for place, index in enumerate(rarity)}
    rarest = (
        min((i for i in counts if i in rank), key=rank.__getitem__, default=None)
        for counts in pixels_by_class
    )
    return tuple("" if index is None else names[index] for index in rarest)
