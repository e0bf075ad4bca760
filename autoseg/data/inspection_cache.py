"""Keep the facts of a folder's pairs on disk, so that unchanged pairs are not decoded again.

One file of lines for each folder and reader. Lines are appended while pairs are examined, and each
has a checksum: lines that a crash, a full disk or another process left incomplete are skipped. A
pair counts as unchanged while size, modification time and change time of its files are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import stat
import time
import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from autoseg.core.files import write_atomically
from autoseg.data.dataset import Sample
from autoseg.data.pairs import PairFacts, examine
from autoseg.data.parallel import in_batches
from autoseg.data.pictures import ReadMask, under

log = logging.getLogger(__name__)

# A file may change twice within one tick of the file system's clock: facts of younger files are
# not kept.
YOUNG_S = 3.0
_MAX_UNUSED_LINES = 1000


class FactsFile:
    """The facts of a folder: lines `checksum key stamp facts`; the last line of a key counts."""

    def __init__(self, cache_dir: Path, root: Path, read_mask: ReadMask) -> None:
        self._root = root
        self._path = cache_dir / "-".join(_identity(root, read_mask))
        lines = _lines(self._path)
        self._count = len(lines)
        self._by_key = {line.split(b" ", 2)[1]: line for line in lines}
        self._new: dict[bytes, bytes] = {}

    def get(self, sample: Sample, stamp: str) -> PairFacts | None:
        """The facts of a pair, if they were stored under this stamp."""
        line = self._by_key.get(self._key(sample))
        if line is None or not stamp:
            return None
        _, _, known, text = line.split(b" ", 3)
        return _facts(sample, text) if known == stamp.encode() else None

    def add(self, stamped: Iterable[tuple[str, PairFacts]]) -> None:
        """Add the facts of pairs that have a stamp and no faults."""
        for stamp, fact in stamped:
            if stamp and not fact.faults:
                key = self._key(fact.sample)
                line = b" ".join((key, stamp.encode(), _text(fact)))
                self._new[key] = b"%08x %s" % (zlib.crc32(line), line)

    def write(self) -> None:
        """Append the new lines to the file."""
        if not self._new:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # One write after a line break: lines of other processes stay whole, and these stay
            # readable after an incomplete line.
            with self._path.open("ab", buffering=0) as file:
                file.write(b"\n" + b"\n".join(self._new.values()) + b"\n")
        except OSError as error:
            told = "%s cannot be written (%s): pictures are examined again"
            log.warning(told, self._path, error)
        self._by_key.update(self._new)
        self._count += len(self._new)
        self._new = {}

    def keep(self, samples: Sequence[Sample]) -> None:
        """Write the new lines, remove the folder's files of other versions, and rewrite this file
        with the lines of `samples` if most of its lines are unused.
        """
        self.write()
        root, code, _ = self._path.name.split("-")
        for path in self._path.parent.glob(f"{root}-*"):
            if path.name.split("-")[1] != code:
                path.unlink(missing_ok=True)
        if self._count <= 2 * len(samples) + _MAX_UNUSED_LINES:
            return
        used = (self._by_key.get(self._key(sample)) for sample in samples)
        try:
            write_atomically(self._path, b"\n".join(line for line in used if line) + b"\n")
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)

    def _key(self, sample: Sample) -> bytes:
        names = (under(self._root, name) for name in (sample.image, sample.mask))
        joined = "\0".join(names).encode(errors="surrogatepass")  # names need not be UTF-8
        return hashlib.sha256(joined).hexdigest()[:32].encode()


def examine_all(
    samples: Sequence[Sample], root: Path, read_mask: ReadMask, known: FactsFile | None
) -> list[PairFacts]:
    """The facts of pairs in their order; pairs with known facts are not decoded. New facts are
    written during long work, else by `FactsFile.keep`.
    """
    one = partial(_examined, root=root, read_mask=read_mask, known=known)
    facts: list[PairFacts] = []
    for batch, long in in_batches(one, samples, f"{root}: pairs examined"):
        facts += [fact for _, fact in batch]
        if known is not None:
            known.add(batch)
            if long:
                known.write()
    return facts


def _examined(
    sample: Sample, root: Path, read_mask: ReadMask, known: FactsFile | None
) -> tuple[str, PairFacts]:
    """The stamp to store a pair's facts under ("": it is stored, or must not be), and these."""
    if known is None:
        return "", examine(sample, root, read_mask)
    stamp, youngest_s = _stamp(sample)
    if found := known.get(sample, stamp):
        return "", found
    young = youngest_s > time.time() - YOUNG_S
    return "" if young else stamp, examine(sample, root, read_mask)


def _stamp(sample: Sample) -> tuple[str, float]:
    """A digest of sizes and times of a pair's files ("" if unknown), and the latest time."""
    files = [_regular(sample.image), *_mask_files(sample.mask)]
    about = [file for file in files if file is not None]
    if len(about) < len(files):
        return "", 0.0
    times = [(file.st_size, file.st_mtime_ns, file.st_ctime_ns) for file in about]
    stamp = hashlib.sha256(repr(times).encode()).hexdigest()[:32]
    return stamp, max(max(file.st_mtime, file.st_ctime) for file in about)


def _mask_files(mask: str) -> list[os.stat_result | None]:
    """The file of a mask such as masks/1.png, or of one such as result.json#17; the files of a
    folder of masks.
    """
    if os.path.isdir(mask):
        return [_regular(os.path.join(mask, name)) for name in sorted(os.listdir(mask))]
    while (found := _regular(mask)) is None and "#" in mask:
        mask = mask.rpartition("#")[0]
    return [found]


def _regular(path: str) -> os.stat_result | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _identity(root: Path, read_mask: ReadMask) -> tuple[str, str, str]:
    """Digests of the folder's path, of the source code of this package, and of the mask reader."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    reader_bytes = pickle.dumps(read_mask)  # for its digest only: nothing is ever unpickled
    parts = (os.fsencode(root.resolve()), code, reader_bytes)
    place, version, reader = (hashlib.sha256(part).hexdigest()[:12] for part in parts)
    return place, version, f"{reader}.jsonl"


def _lines(path: Path) -> list[bytes]:
    """The lines of a file with a correct checksum."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return []
    whole = [line for line in lines if line[:8] == b"%08x" % zlib.crc32(line[9:])]
    if wrong := sum(1 for line in lines if line) - len(whole):
        told = "%s: %d damaged lines left out: their pictures are examined again"
        log.warning(told, path, wrong)
    return whole


def _text(fact: PairFacts) -> bytes:
    counts = [*fact.counts.items()]
    palette = fact.palette and [*fact.palette.items()]
    deep = [fact.deep_range, fact.deep_colour]
    return json.dumps(
        [fact.hw, counts, fact.content, fact.thumbnail.hex(), deep, palette]
    ).encode()


def _facts(sample: Sample, text: bytes) -> PairFacts:
    hw, counts, content, small, (deep, deep_colour), palette = json.loads(text)
    return PairFacts(
        sample=sample,
        hw=(hw[0], hw[1]),
        counts=dict(counts),
        content=content,
        thumbnail=bytes.fromhex(small),
        deep_range=deep and (deep[0], deep[1]),
        deep_colour=deep_colour,
        palette=palette and dict(palette),
    )
