"""Write a data set in the plain layout: completely, or nothing."""

from __future__ import annotations

import csv
import logging
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from PIL import Image

from autoseg.core.errors import InputError
from autoseg.data.dataset import SPLITS, Array, Dataset, Sample
from autoseg.data.parallel import in_batches
from autoseg.data.pictures import PILLOW_FORMATS, SUFFIXES, orientation

log = logging.getLogger(__name__)

# Pillow modes that all readers of pictures decode to the same values.
_COMMON_MODES = ("L", "RGB")


@dataclass(frozen=True)
class Converted:
    """The pairs by split, and the numbers of pictures copied, encoded as PNG, and renamed."""

    folder: Path
    pairs: Mapping[str, int]
    copied: int
    encoded: int
    renamed: int


def convert(dataset: Dataset, out: str | Path) -> Converted:
    """Write images/, masks/, classes.txt and index.csv (stem, split, group) into a folder that
    does not exist or is empty.

    Pictures are copied; those that other programs may decode differently (turned by EXIF, 16 bits,
    CMYK, transparent) become PNG files of the decoded picture. Raises InputError for a folder that
    is not empty or cannot be written, and for pairs that changed since their inspection.
    """
    out = Path(out)
    stems = new_stems(dataset.splits)
    with _complete_folder(out) as draft:
        _write_tables(draft, dataset, stems)
        copied = sum(_write_pairs(draft, dataset, split, stems[split]) for split in stems)
    pairs = {split: len(names) for split, names in stems.items()}
    old = [sample.stem for split in stems for sample in dataset.splits[split]]
    new = [stem for names in stems.values() for stem in names]
    renamed = sum(one != other for one, other in zip(old, new, strict=True))
    return Converted(out, pairs, copied, sum(pairs.values()) - copied, renamed)


def new_stems(splits: Mapping[str, Sequence[Sample]]) -> dict[str, list[str]]:
    """A unique stem for each sample, by split (empty splits are left out): its own if possible,
    else with its folder's name, its split or a number before it.

    Stems that differ only in case count as equal, as on some file systems.
    """
    samples = [(split, sample) for split in SPLITS for sample in splits.get(split, ())]
    names: list[tuple[str, str, str]] = []
    for split, sample in samples:
        stem, folder = _file_name(sample.stem), _file_name(Path(sample.image).parent.name)
        names.append((stem, f"{folder}-{stem}", f"{split}-{stem}"))
    chosen: dict[int, str] = {}
    used: set[str] = set()
    for kind in range(3):
        rest = {place: of[kind] for place, of in enumerate(names) if place not in chosen}
        times = Counter(name.casefold() for name in rest.values())
        alone = {place: name for place, name in rest.items() if times[name.casefold()] == 1}
        chosen |= {place: name for place, name in alone.items() if name.casefold() not in used}
        used |= {name.casefold() for name in alone.values()}
    for place in (place for place in range(len(samples)) if place not in chosen):
        numbers = (f"{number}-{names[place][0]}" for number in count(1))
        chosen[place] = next(name for name in numbers if name.casefold() not in used)
        used.add(chosen[place].casefold())
    stems: dict[str, list[str]] = {}
    for place, (split, _) in enumerate(samples):
        stems.setdefault(split, []).append(chosen[place])
    return stems


def _file_name(text: str) -> str:
    """A name without separators, reserved and unprintable characters; never hidden or empty."""
    name = "".join("-" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in text).strip()
    return f"_{name}" if not name or name.startswith(".") else name


def check_free(out: Path) -> None:
    """Raise InputError unless a folder is empty or does not exist: nothing is overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty: name a new folder, or an empty one")


@contextmanager
def _complete_folder(out: Path) -> Iterator[Path]:
    """A folder that appears under its name only when it is complete."""
    draft = out.parent / f".{out.name}.{secrets.token_hex(4)}"
    try:
        check_free(out)
        draft.mkdir(parents=True)
        yield draft
        if out.exists():
            out.rmdir()  # it is empty; some systems refuse to rename onto a folder
        draft.rename(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_tables(folder: Path, dataset: Dataset, stems: Mapping[str, list[str]]) -> None:
    names = (" ".join(name.split()) for name in dataset.classes)
    # Names of classes and groups may come from file names that are no UTF-8.
    escaped = "backslashreplace"
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8", escaped)
    index = folder / "index.csv"
    with index.open("w", newline="", encoding="utf-8", errors=escaped) as file:
        table = csv.writer(file)
        table.writerow(("stem", "split", "group"))
        for split, new in stems.items():
            pairs = zip(new, dataset.splits[split], strict=True)
            for stem, sample in sorted(pairs, key=lambda pair: pair[0]):
                alone = sample.group == sample.stem
                table.writerow((stem, split, stem if alone else sample.group))


def _write_pairs(folder: Path, dataset: Dataset, split: str, stems: Sequence[str]) -> int:
    """Write the pairs of a split; the number of copied pictures."""
    for kind in ("images", "masks"):
        (folder / kind / split).mkdir(parents=True)
    samples = dataset.splits[split]
    pairs = list(zip(samples, stems, strict=True))
    one = partial(_write_pair, folder, dataset, split)
    batches = in_batches(one, pairs, f"{split}: pairs written")
    return sum(sum(batch) for batch, _ in batches)


def _write_pair(folder: Path, dataset: Dataset, split: str, pair: tuple[Sample, str]) -> bool:
    sample, stem = pair
    picture, mask = dataset.read(sample)
    Image.fromarray(mask).save(folder / "masks" / split / f"{stem}.png")
    images = folder / "images" / split
    source = Path(sample.image)
    copied = _is_portable(source, picture)
    if copied:
        shutil.copyfile(source, images / f"{stem}{source.suffix}")
    else:
        Image.fromarray(picture).save(images / f"{stem}.png")
    return copied


def _is_portable(source: Path, picture: Array) -> bool:
    """Whether all programs decode a file to the same picture as autoseg."""
    if source.suffix.lower() not in SUFFIXES or not source.is_file():
        return False
    with Image.open(source, formats=PILLOW_FORMATS) as found:
        return (
            found.mode in _COMMON_MODES
            and "transparency" not in found.info
            and orientation(found) == 1
            and found.size == (picture.shape[1], picture.shape[0])
        )
