"""Parse the tasks of Label Studio's JSON and JSON_MIN exports, and the RLE of its brushes.

Sources: https://labelstud.io/guide/task_format, label-studio-sdk's converter, and
https://github.com/thi-ng/umbrella (rle-pack).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoseg.core.errors import InputError
from autoseg.core.units import HW
from autoseg.data.dataset import Array
from autoseg.data.formats.common.files import objects
from autoseg.data.formats.common.pairing import path_parts
from autoseg.data.formats.common.shapes import NO_AREA, Covered, from_half, has_area, read_points
from autoseg.data.layout import listed
from autoseg.data.pictures import SUFFIXES

_AREA_KINDS = {"brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "bitmasklabels"}
_SHAPE_KEYS = {"rle", "imageDataURL", "points", "radiusX", "width"}
# 32 bits for the number of values, 5 for the bits of a value, 4 x 4 for the sizes of lengths.
_HEADER_BITS = 32 + 5 + 4 * 4


@dataclass(frozen=True)
class Region:
    """One area: its class, its shape, and the (width, height) of the picture it was drawn on."""

    label: str
    value: dict[str, Any]
    drawn_on: tuple[object, object]


def labelled_areas(task: object) -> tuple[list[Region] | None, Counter[str]]:
    """The areas of the annotation that counts, in the order of the file (None: there is none), and
    counts of notes on the parts of the task that are ignored. Raises InputError for a malformed
    task.
    """
    if not isinstance(task, dict):
        raise InputError(f"it is no task, which is an object: {task!r:.40}")
    notes = Counter[str]()
    if "data" in task:
        results = _results(task, notes)
    elif task.get("annotation_id") is None:
        results = None
    else:  # JSON_MIN: one list for each labelling tag, beside the task's data
        lists = [value for value in task.values() if isinstance(value, list)]
        results = [result for values in lists for result in values if isinstance(result, dict)]
    if results is None:
        return None, Counter(["tasks without an annotation, ignored"])
    return [r for result in results for r in _region(result, notes)], notes


def _results(task: dict[str, Any], notes: Counter[str]) -> list[dict[str, Any]] | None:
    """The results of the annotation marked as ground truth, else of the one changed last; None if
    there is none, or all were cancelled.
    """
    annotations = objects(task.get("annotations", task.get("completions")), "annotations")
    kept = [a for a in annotations if not (a.get("was_cancelled") or a.get("skipped"))]
    if not kept:
        return None
    if len(kept) > 1:
        notes["several annotations, of which the ground truth or else the newest is used"] += 1
    counting = max(kept, key=lambda a: (a.get("ground_truth") is True, *_age(a, "id")))
    return objects(counting.get("result"), "results")


def newest_places(tasks: list[Any]) -> list[int]:
    """Places of the tasks; of JSON_MIN's entry for each annotation, only the newest of a task."""
    newest: dict[str, int] = {}
    for place, task in enumerate(tasks):
        key = f"place {place}"
        if isinstance(task, dict) and "data" not in task and task.get("id") is not None:
            key = f"{task['id']}"
        other = tasks[newest[key]] if key in newest else None
        if other is None or _age(task, "annotation_id") > _age(other, "annotation_id"):
            newest[key] = place
    return sorted(newest.values())


def _age(annotation: dict[str, Any], key: str) -> tuple[str, int]:
    """A sort key: larger for a newer annotation. Dates are in ISO 8601, all in one time zone."""
    changed = annotation.get("updated_at") or annotation.get("created_at") or ""
    number = annotation.get(key)
    return str(changed), number if isinstance(number, int) else -1


def _region(result: dict[str, Any], notes: Counter[str]) -> Iterator[Region]:
    """The area of a result: in JSON below "value", in JSON_MIN the result itself."""
    value = result.get("value", result)
    if not isinstance(value, dict):
        raise InputError(f"a result's value must be an object, got {value!r:.40}")
    kind = next((key for key in value if key.endswith("labels")), None)
    if kind is None:
        return  # a choice, a text or a relation
    names = value[kind]
    if kind not in _AREA_KINDS and not (kind == "labels" and _SHAPE_KEYS & value.keys()):
        notes[f"{kind} are no areas, ignored"] += 1
    elif not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"its {kind} must be a list of names, got {names!r:.40}")
    elif not names:
        notes["regions without a label, ignored"] += 1
    elif isinstance(value.get("points"), list) and _is_stray(value["points"]):
        notes[NO_AREA] += 1
    else:
        size = (result.get("original_width"), result.get("original_height"))
        yield Region(names[0], value, size)


def _is_stray(points: object) -> bool:
    try:
        return not has_area(read_points(points))
    except InputError:
        return False  # a fault when it is drawn


def reference_of(task: dict[str, Any]) -> str:
    """The address of a task's picture: the only one in its data, or the one named "image"."""
    data = task.get("data", task)
    texts = {k: v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
    named = {
        k: v for k, v in texts.items() if "".join(path_parts(v)[-1:]).lower().endswith(SUFFIXES)
    }
    if "image" in texts or len(named) == 1:
        return texts.get("image") or next(iter(named.values()))
    raise InputError(
        f'it must name one picture, or one as "image"; its data hold {listed(sorted(named))}'
        if named
        else f"its data name no picture ({', '.join(SUFFIXES)})"
    )


def task_name(task: object, place: int) -> str:
    number = task.get("id") if isinstance(task, dict) else None
    return f"task {number}" if isinstance(number, int) else f"task in place {place}"


def decode_rle(packed: object, hw: HW) -> Covered:
    """The area of a brush: runs of RGBA values, of which the alpha counts. Raises InputError."""
    try:
        data = bytes(packed if isinstance(packed, list) else [])
    except (TypeError, ValueError) as error:
        raise InputError("its runs (rle) must be a list of bytes") from error
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    text = (bits + ord("0")).tobytes().decode()
    if len(text) < _HEADER_BITS:
        raise InputError("its runs (rle) are empty")
    count, word = int(text[:32], 2), int(text[32:37], 2) + 1
    if word != 8 or count != hw[0] * hw[1] * 4:
        raise InputError(
            f"its runs (rle) hold {count} values of {word} bits; a picture of {hw[1]}x{hw[0]} has"
            f" {hw[0] * hw[1] * 4} of 8: not the same picture"
        )
    sizes = [int(text[place : place + 4], 2) + 1 for place in range(37, _HEADER_BITS, 4)]
    return from_half(_alpha(bits, text, sizes, count).reshape(hw))


def _alpha(bits: Array, text: str, sizes: list[int], count: int) -> Array:
    """Every fourth of the values. Each run begins with one bit (1: one value, repeated; 0: single
    values) and two bits that select the size of its length.
    """
    alpha = np.zeros(count // 4, np.uint8)
    place, value = _HEADER_BITS, 0
    while value < count:
        head = text[place : place + 3]
        size = sizes[int(head[1:] or "0", 2)]
        length = int(text[place + 3 : place + 3 + size] or "0", 2) + 1
        place += 3 + size
        words = 1 if head[:1] == "1" else length
        end = place + 8 * words
        if end > len(text) or value + length > count:
            raise InputError("its runs (rle) are damaged: they do not end with the picture")
        held = np.packbits(bits[place:end])
        # The first value of each pixel's four is red, the last its alpha.
        first, behind = value // 4, (value + length) // 4
        alpha[first:behind] = held[0] if words == 1 else held[3 - value % 4 :: 4]
        place, value = end, value + length
    return alpha
