"""Which classes occur in the truth of which split; classes that a split lacks are said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from autoseg.data.dataset import SPLITS, Sample
from autoseg.data.layout import Layout, Splits, listed

# The classes in each sample's mask, by picture and mask; 255 is none.
Held = Mapping[tuple[str, str], frozenset[int]]
_HARM = {
    "train": "no network can learn them",
    "val": "the IoU, which decides the search, leaves them out",
    "test": "the IoU on test leaves them out",
}


def occurring(samples: Iterable[Sample], held: Held, count: int) -> tuple[int, ...]:
    """The indices below `count` of the classes in the samples' masks."""
    classes = set[int]().union(*(held[s.image, s.mask] for s in samples))
    return tuple(sorted(one for one in classes if one < count))


def check_occurring(layout: Layout, names: Sequence[str], splits: Splits, held: Held) -> None:
    """Add classes of the data that a split lacks to the warnings; a val or train of fewer than
    two classes becomes a fault, as no IoU can be promised, or nothing learned.
    """
    everywhere = [sample for split in SPLITS for sample in splits[split]]
    known = occurring(everywhere, held, len(names))
    for split in (split for split in SPLITS if splits[split]):
        there = occurring(splits[split], held, len(names))
        absent = [one for one in known if one not in there]
        shown = listed([_where(names[one], one, everywhere, held) for one in absent])
        if len(there) < 2 and split != "test":
            only = f"only {names[there[0]]}" if there else "no class at all"
            rule = "no IoU can be promised" if split == "val" else "there is nothing to learn"
            layout.faults.append(f"the masks of {split} hold {only}: {rule}; they lack {shown}")
        elif absent:
            layout.warnings.append(f"{split} has no pixel of {shown}: {_HARM[split]}")


def _where(name: str, one: int, samples: Sequence[Sample], held: Held) -> str:
    """A class and how often it occurs, so that a reader sees whether another split can help."""
    having = [sample for sample in samples if one in held[sample.image, sample.mask]]
    pictures, groups = len(having), len({sample.group for sample in having})
    of_groups = f" of {groups} group{'s' * (groups > 1)}" if groups < pictures else ""
    return f"{name:.40} (in {pictures} picture{'s' * (pictures > 1)}{of_groups})"
