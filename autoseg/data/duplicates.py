"""Near-duplicate pictures in different splits: the same picture saved again, or frames of a slow
video, make scores look better than they are.

Pictures are compared by grey thumbnails of 16x16, each brought to mean 0 and deviation 1, so that
light and contrast do not count. The limits come from pictures: what JPEG, another size or 15 %
more light change stays under them, and so do most neighbouring frames of CamVid (15 a second, from
a moving car); different objects at one place before one background stay above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from autoseg.data.dataset import SPLITS, Array, Sample

SIDE = 16
# Of two thumbnails, in their deviations: the root mean square of all differences, and the largest.
RMS_LIMIT = 0.12
PEAK_LIMIT = 0.55
# Flatter pictures (grey levels 0..255) hold nothing to compare; smaller ones have no thumbnail.
MIN_DEVIATION = 4.0
SHOWN = 3
_BLOCK = 256
_CLOSEST = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """A picture and the one most like it in another split; `rms` is 0 for the same picture."""

    sample: Sample
    other: Sample
    rms: float


def thumbnail(picture: Array) -> bytes:
    """A picture uint8 ``[H, W, 3]`` as 256 grey values; empty where it is too small or too flat to
    be told from others.
    """
    if min(picture.shape[:2]) < SIDE:
        return b""
    grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    values = np.asarray(grey)
    return values.tobytes() if values.std() >= MIN_DEVIATION else b""


def warning(splits: Mapping[str, Sequence[Sample]], thumbnails: Sequence[bytes]) -> str:
    """What to tell a user about near-duplicates, "" for none; `thumbnails` are in the order of the
    splits.
    """
    told = []
    for (split, other), pairs in near_duplicates(splits, thumbnails).items():
        closest = sorted(pairs, key=lambda pair: (pair.rms, pair.sample.stem))[:SHOWN]
        named = ", ".join(f"{pair.sample.stem} and {pair.other.stem}" for pair in closest)
        more = ", ..." if len(pairs) > SHOWN else ""
        whole = len(splits[split])
        told.append(f"{len(pairs)} of {whole} pictures of {split} and {other} ({named}{more})")
    if not told:
        return ""
    return (
        f"near-duplicates in different splits: {'; '.join(told)}; scores are better than on new"
        " pictures. Keep frames of one video and views of one object in one split: with"
        " --group-pattern or --group-column where autoseg makes the split, by hand where it is"
        " given"
    )


def near_duplicates(
    splits: Mapping[str, Sequence[Sample]], thumbnails: Sequence[bytes]
) -> dict[tuple[str, str], list[Pair]]:
    """Pictures of val and test that look like one of an earlier split, with the one most like
    each, by (split, earlier split).

    `thumbnails` are those of all samples in the order of the splits. Exact, and quick for 100,000
    pictures: only those are compared whose values on the main axis are near enough.
    """
    samples = [sample for split in SPLITS for sample in splits[split]]
    ends = np.cumsum([0, *(len(splits[split]) for split in SPLITS)])
    usable = np.array([bool(small) for small in thumbnails], bool)
    vectors = _vectors([small for small in thumbnails if small])
    # Where all pictures are much alike (one camera, one background), so must copies be.
    scale = min(1.0, _spread(vectors))
    row = np.cumsum(usable) - 1
    found: dict[tuple[str, str], list[Pair]] = {}
    members = {
        split: np.flatnonzero(usable[ends[i] : ends[i + 1]]) + ends[i]
        for i, split in enumerate(SPLITS)
    }
    for split, other in (("val", "train"), ("test", "train"), ("test", "val")):
        ours, theirs = members[split], members[other]
        if len(ours) and len(theirs):
            alike = _alike(vectors[row[ours]], vectors[row[theirs]], scale)
            pairs = [Pair(samples[ours[a]], samples[theirs[b]], rms) for a, b, rms in alike]
            if pairs:
                found[split, other] = pairs
    return found


def _vectors(thumbnails: Sequence[bytes]) -> Floats:
    """Thumbnails as unit vectors around 0: their distance is the root mean square of differences
    in deviations.
    """
    values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, SIDE * SIDE)
    vectors = values.astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _spread(vectors: Floats) -> float:
    """The median distance of two pictures, from 1,000 random pairs."""
    if len(vectors) < 2:
        return 1.0
    rng = np.random.default_rng(0)
    first = rng.integers(len(vectors), size=1000)
    second = (first + rng.integers(1, len(vectors), size=1000)) % len(vectors)
    return float(np.median(np.linalg.norm(vectors[first] - vectors[second], axis=1)))


def _alike(ours: Floats, theirs: Floats, scale: float) -> Iterator[tuple[int, int, float]]:
    """Rows of `ours` with the nearest row of `theirs`, where that is within the limits."""
    # The additions are more than float32 leaves of nothing, in differences and in products.
    rms_limit, peak_limit = RMS_LIMIT * scale + 1e-3, PEAK_LIMIT * scale + 1e-2
    least = 1 - rms_limit**2 / 2 - 1e-5
    axis = _main_axis(theirs)
    along, along_theirs = ours @ axis, theirs @ axis
    order, order_theirs = np.argsort(along), np.argsort(along_theirs)
    sorted_theirs, along_theirs = theirs[order_theirs], along_theirs[order_theirs]
    for start in range(0, len(ours), _BLOCK):
        block = order[start : start + _BLOCK]
        # Two vectors are no nearer than their shadows on any axis.
        reach = (along[block[0]] - rms_limit, along[block[-1]] + rms_limit)
        low, high = np.searchsorted(along_theirs, reach)
        window = sorted_theirs[low:high]
        likeness = ours[block] @ window.T
        for place in np.flatnonzero((likeness >= least).any(axis=1)):
            columns = np.flatnonzero(likeness[place] >= least)
            closest = columns[np.argsort(-likeness[place, columns])[:_CLOSEST]]
            differences = ours[block[place]] - window[closest]
            rms = np.linalg.norm(differences, axis=1)
            peaks = np.abs(differences).max(axis=1) * SIDE
            within = np.flatnonzero((rms <= rms_limit) & (peaks <= peak_limit))
            if len(within):
                theirs_row = order_theirs[low + closest[within[0]]]
                yield int(block[place]), int(theirs_row), float(rms[within[0]])


def _main_axis(vectors: Floats) -> Floats:
    """The direction in which (2,000 of) the vectors differ most."""
    some = vectors[:: max(1, len(vectors) // 2000)]
    axis: Floats = np.linalg.eigh(np.cov(some.T, bias=True))[1][:, -1].astype(np.float32)
    return axis
