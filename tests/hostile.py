"""What a stranger may have done to a data set: its files damaged, by a seed.

The same seed damages the same way.
"""

import json
import os
import random
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_sets import DataSet, Files, Hole, as_json

MAX_BYTES, MAX_CPU_S = 2**30, 10.0  # of one inspection; a valid one takes a few MiB and 0.05 s

# Marks stand for what `json.dumps` does not write.
DEEP, DIGITS, BEYOND = "@deep@", "@digits@", "@beyond@"
VALUES = (
    None, True, False, -1, 0, 1, 255, 256, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, -1e308,
    float("nan"), float("inf"), "", "0", "-1", "x" * 5000, "../../../etc/passwd", "/etc/passwd",
    "a.png", "a/../b.png", "\x00", "\ud800", "\u202e\n\x1b[31m", "http://[", "data:;base64,AAAA",
    [], {}, [[]], [None], [[], {}], {"": None}, [0] * 5000, DEEP, DIGITS, BEYOND,
)  # fmt: skip
CELLS = (
    "", "0", "-1", "256", "1e999", "nan", "9" * 5000, "x" * 200_000, '"', '""', ",", "\t", "\x00",
    "train", "../a", "/etc/passwd", "\u202e", "\x1b[31m", ":", "#", "{", "[", "&a", "*a",
    "!!python/name:os.system", "- -",
)  # fmt: skip
FILE_NAMES = (
    ".hidden.png", "a#1.png", "a b.png", "line\nbreak.png", os.fsdecode(b"\xff\xfe.png"),
    "x" * 240 + ".png", "a.PNG", "a.jfif", "a.json", "a.txt", "a.csv", "a.png.json", "classes.txt",
    "data.yaml", "\x1b[31m.png", "train", "val", "images", "index.csv",
    "task-99999999999999999999-annotation-1-by-a-b-c-1.png",
)  # fmt: skip
Change = tuple[Files, str]


def damaged(whole: DataSet, seed: int) -> tuple[Files, list[str]]:
    """The files of a data set after one to three kinds of damage, and what was done."""
    draw, files, done = random.Random(seed), dict(whole.files), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        if not files:
            break
        name = _drawn_name(draw, files)
        content = files[name]
        kinds = [_bytes, _names, _size]
        if isinstance(content, bytes) and name.endswith((".json", ".txt", ".csv", ".yaml")):
            kinds += [_json if name.endswith(".json") else _cells] * 7
        files, what = draw.choice(kinds)(draw, files, name)
        done.append(f"{name}: {what}")
    return files, done


def _drawn_name(draw: random.Random, files: Files) -> str:
    """Half of the damage hits files that say something about others."""
    said = [name for name in files if not name.endswith((".png", ".npy", ".zip"))]
    return draw.choice(said if said and draw.random() < 0.75 else [*files])


def _bytes(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name] if isinstance(files[name], bytes) else b""
    start, stop = sorted(draw.choices(range(len(data) + 1), k=2))
    changed = {
        "emptied": b"",
        "cut off": data[:start],
        "without a part": data[:start] + data[stop:],
        "a part twice": data[:stop] + data[start:],
        "random in the middle": data[:start] + draw.randbytes(9) + data[stop:],
        "zeros in the middle": data[:start] + bytes(stop - start) + data[stop:],
        "bits turned": bytes(b ^ (draw.random() < 0.02) << draw.randrange(8) for b in data),
        "of another file": _content(draw, files),
        "in UTF-16": data.decode("latin-1").encode("utf-16"),
        "many times": data * (2 if len(data) > 10**5 else draw.choice((2, 300))),
        "behind a mark": b"\xef\xbb\xbf" + data,
    }
    what = draw.choice([*changed])
    return {**files, name: changed[what]}, what


def _content(draw: random.Random, files: Files) -> bytes:
    return draw.choice([data for data in files.values() if isinstance(data, bytes)] or [b""])


def _names(draw: random.Random, files: Files, name: str) -> Change:
    folder, other = name.rpartition("/")[0], draw.choice([*files])
    new = draw.choice(FILE_NAMES)
    new = f"{folder}/{new}" if folder else new
    left = {key: data for key, data in files.items() if key != name}
    free = not any(
        key == new or key.startswith(f"{new}/") or new.startswith(f"{key}/") for key in left
    )
    ways = {
        "deleted": left,
        f"exchanged with {other}": {**files, name: files[other], other: files[name]},
        "a folder": {**left, f"{name}/inside.png": files[name]},
    }
    if free:
        ways[f"named {new!r}"] = {**left, new: files[name]}
        ways[f"twice, as {new!r}"] = {**files, new: files[name]}
    what = draw.choice([*ways])
    return ways[what], what


def _size(draw: random.Random, files: Files, name: str) -> Change:
    size = draw.choice((None, 2**20, 2**33, 2**42))
    return {**files, name: Hole(size)}, "a pipe" if size is None else f"a hole of {size} bytes"


def _cells(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name]
    lines = data.decode("latin-1").split("\n") if isinstance(data, bytes) else []
    place = draw.randrange(len(lines)) if lines else 0
    sign = draw.choice((",", " ", ":", "\t"))
    cells = lines[place].split(sign) if lines else [""]
    cells[draw.randrange(len(cells))] = draw.choice(CELLS)
    shuffled = draw.sample(lines, len(lines))
    ways = {
        "a cell": [*lines[:place], sign.join(cells), *lines[place + 1 :]],
        "lines shuffled": shuffled,
        "a line twice": [*lines, *lines[place : place + 1]],
        "a line many times": [*lines, *lines[place : place + 1] * 2000],
        "a line less": [*lines[:place], *lines[place + 1 :]],
        "half a line": [*lines[:place], lines[place][: len(lines[place]) // 2]] if lines else [],
        "a bomb of aliases": [
            *lines,
            "a0: &a0 [x, x]",
            *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 60)),
            "names: *a59",
            "box: *a59",
        ],
        "deep": [*lines, "x: " + "[" * 1500],
        "many lines": [*lines, *(f"n{number}{sign}{number}" for number in range(2000))],
    }
    what = draw.choice(["a cell", "a cell", *ways])
    return {**files, name: "\n".join(ways[what]).encode("utf-8", "surrogatepass")}, what


def _json(draw: random.Random, files: Files, name: str) -> Change:
    data = files[name]
    try:
        tree = json.loads(data) if isinstance(data, bytes) else None
    except (ValueError, RecursionError):
        return _bytes(draw, files, name)
    places = [*_places(tree)]
    if not places:
        return {**files, name: as_json(draw.choice(VALUES))}, "another value"
    holder, key = draw.choice(places)
    what = draw.choice(
        ["value"] * 5 + ["deleted", "exchanged", "many", "shuffled", "twice", "renamed"]
    )
    value = draw.choice(VALUES)
    if what == "deleted":
        del holder[key]
    elif what == "exchanged":
        other, place = draw.choice(places)
        holder[key], other[place] = json.loads(json.dumps([other[place], holder[key]]))
    elif what == "many" and isinstance(holder, list):
        holder += [holder[key]] * 300
    elif what == "shuffled" and isinstance(holder, list):
        draw.shuffle(holder)
    elif what == "renamed" and isinstance(holder, dict):
        holder[draw.choice(("", "id", "labels", "shapes", "data"))] = holder.pop(key)
    elif what != "twice":
        holder[key] = value
        what = f"{key!r:.40} is {value!r:.60}"
    written = json.dumps(tree)
    if what == "twice":
        written = written.replace(f'"{key}": ', f'"{key}": {json.dumps(value)}, "{key}": ', 1)
    depth = draw.choice((50, 450, 900, 950, 980, 990, 100_000))
    for mark, meant in (
        (DEEP, "[" * depth + "]" * depth),
        (DIGITS, "9" * 5000),
        (BEYOND, "1e999"),
    ):
        written = written.replace(f'"{mark}"', meant)
    return {**files, name: written.encode()}, what


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a tree of JSON, as its holder and its key."""
    keys = (
        list(tree)
        if isinstance(tree, dict)
        else range(len(tree))
        if isinstance(tree, list)
        else ()
    )
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def written(root: Path, files: Files) -> Path:
    """The folder of a data set."""
    root.mkdir(parents=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Hole) and content.size is None:
            os.mkfifo(path)
        elif isinstance(content, Hole):
            with path.open("wb") as file:
                file.truncate(content.size)
        else:
            path.write_bytes(content)
    return root


@contextmanager
def bounded() -> Iterator[None]:
    """Raise MemoryError beyond `MAX_BYTES` more than now, TimeoutError after `MAX_CPU_S`."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"over {MAX_CPU_S} s of CPU time")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, MAX_CPU_S)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
