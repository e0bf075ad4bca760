"""Find near-duplicate pictures in different splits: the same picture saved again, or frames of a
slow video, make scores look better than they are.

Pictures are compared by grey thumbnails of 16x16, each normalized to mean 0 and deviation 1, so
that light and contrast have no effect. The limits were measured: the differences by JPEG, another
size or 15 % more light are below them, and so are those of most neighbouring frames of CamVid (15
a second, from a moving car); different objects at one place before one background are above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from autoseg.data.dataset import SPLITS, Array, Sample

SIDE_PX = 16
# Differences of two thumbnails in units of their deviation: root mean square, and the largest.
MAX_RMS = 0.12
MAX_PEAK = 0.55
# In grey levels 0..255; flatter pictures have no contrast to compare.
MIN_DEVIATION = 4.0
MAX_PAIRS_SHOWN = 3
_BLOCK_ROWS = 256
_MAX_CLOSEST = 8

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pair:
    """A picture and the most similar one of another split; `rms` is 0 for the same picture."""

    sample: Sample
    other: Sample
    rms: float


def thumbnail(picture: Array) -> bytes:
    """A picture uint8 ``[H, W, 3]`` as 256 grey values; empty if it is too small or too flat."""
    if min(picture.shape[:2]) < SIDE_PX:
        return b""
    grey = Image.fromarray(picture).convert("L").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    values = np.asarray(grey)
    return values.tobytes() if values.std() >= MIN_DEVIATION else b""


def warning(splits: Mapping[str, Sequence[Sample]], thumbnails: Sequence[bytes]) -> str:
    """A warning of near-duplicates, "" for none; `thumbnails` are in the order of the splits."""
    found = []
    for (split, other), pairs in near_duplicates(splits, thumbnails).items():
        closest = sorted(pairs, key=lambda pair: (pair.rms, pair.sample.stem))[:MAX_PAIRS_SHOWN]
        named = ", ".join(f"{pair.sample.stem} and {pair.other.stem}" for pair in closest)
        more = ", ..." if len(pairs) > MAX_PAIRS_SHOWN else ""
        whole = len(splits[split])
        found.append(f"{len(pairs)} of {whole} pictures of {split} and {other} ({named}{more})")
    if not found:
        return ""
    return (
        f"near-duplicates in different splits: {'; '.join(found)}; scores are better than on new"
        " pictures. Keep frames of one video and views of one object in one split: with"
        " --group-pattern or --group-column where autoseg makes the split, by hand where it is"
        " given"
    )


def near_duplicates(
    splits: Mapping[str, Sequence[Sample]], thumbnails: Sequence[bytes]
) -> dict[tuple[str, str], list[Pair]]:
    """Pictures of val and test that resemble one of an earlier split, each with the most similar
    one, by (split, earlier split).

    `thumbnails` are those of all samples in the order of the splits. The search is exact, and fast
    enough for 100,000 pictures: only pictures close on the principal axis are compared.
    """
    rest = iter(thumbnails)
    usable = {
        split: [(s, small) for s, small in zip(splits[split], rest, strict=False) if small]
        for split in SPLITS
    }
    vectors = {split: _vectors([small for _, small in held]) for split, held in usable.items()}
    # Where all pictures are similar (one camera, one background), the limits shrink alike.
    scale = min(1.0, _spread(np.concatenate([*vectors.values()])))
    found: dict[tuple[str, str], list[Pair]] = {}
    for split, other in (("val", "train"), ("test", "train"), ("test", "val")):
        if usable[split] and usable[other]:
            alike = _nearest_pairs(vectors[split], vectors[other], scale)
            pairs = [Pair(usable[split][a][0], usable[other][b][0], rms) for a, b, rms in alike]
            if pairs:
                found[split, other] = pairs
    return found


def _vectors(thumbnails: Sequence[bytes]) -> Floats:
    """Thumbnails as centred unit vectors, so that distances are the RMS of differences."""
    values = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, SIDE_PX * SIDE_PX)
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


def _nearest_pairs(ours: Floats, theirs: Floats, scale: float) -> Iterator[tuple[int, int, float]]:
    """Rows of `ours` with the nearest row of `theirs`, if it is within the limits."""
    # The additions cover the rounding errors of float32 in differences and products.
    max_rms, max_peak = MAX_RMS * scale + 1e-3, MAX_PEAK * scale + 1e-2
    min_similarity = 1 - max_rms**2 / 2 - 1e-5
    axis = _principal_axis(theirs)
    along, along_theirs = ours @ axis, theirs @ axis
    order, order_theirs = np.argsort(along), np.argsort(along_theirs)
    sorted_theirs, along_theirs = theirs[order_theirs], along_theirs[order_theirs]
    for start in range(0, len(ours), _BLOCK_ROWS):
        block = order[start : start + _BLOCK_ROWS]
        # The distance of two vectors is at least that of their projections on any axis.
        reach = (along[block[0]] - max_rms, along[block[-1]] + max_rms)
        low, high = np.searchsorted(along_theirs, reach)
        window = sorted_theirs[low:high]
        similarity = ours[block] @ window.T
        for place in np.flatnonzero((similarity >= min_similarity).any(axis=1)):
            columns = np.flatnonzero(similarity[place] >= min_similarity)
            closest = columns[np.argsort(-similarity[place, columns])[:_MAX_CLOSEST]]
            differences = ours[block[place]] - window[closest]
            rms = np.linalg.norm(differences, axis=1)
            peaks = np.abs(differences).max(axis=1) * SIDE_PX
            within = np.flatnonzero((rms <= max_rms) & (peaks <= max_peak))
            if len(within):
                theirs_row = order_theirs[low + closest[within[0]]]
                yield int(block[place]), int(theirs_row), float(rms[within[0]])


def _principal_axis(vectors: Floats) -> Floats:
    """The direction of the largest variance (of 2,000 of the vectors)."""
    some = vectors[:: max(1, len(vectors) // 2000)]
    axis: Floats = np.linalg.eigh(np.cov(some.T, bias=True))[1][:, -1].astype(np.float32)
    return axis
