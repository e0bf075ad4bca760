"""Find Label Studio's JSON exports, or its brush masks, and pair the tasks with pictures."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from autoseg.core.errors import InputError
from autoseg.data.formats.common.json_files import export_files, head, read_json
from autoseg.data.formats.common.labels import class_order
from autoseg.data.formats.common.pairing import by_folders
from autoseg.data.formats.common.picture_index import PictureIndex, index_pictures, path_parts
from autoseg.data.formats.label_studio import brush_masks
from autoseg.data.formats.label_studio.masks import read_mask
from autoseg.data.formats.label_studio.tasks import (
    labelled_areas,
    newest_places,
    reference_of,
    task_name,
)
from autoseg.data.layout import Layout, listed

_TASK_KEYS = ("annotations", "completions", "annotation_id")


def recognize(root: Path) -> str | None:
    """The reason to read `root` in this format; None if it is of another."""
    if exports := _exports(root):
        return f"{exports[0].name} is a JSON export of Label Studio"
    if folder := brush_masks.masks_folder(root):
        name = folder.relative_to(root).as_posix()
        return f"{'it' if folder == root else name + '/'} holds brush masks of Label Studio"
    return None


def find(root: Path) -> Layout:
    """Pair each annotated task with its picture; tasks that cannot be used become faults."""
    layout = Layout(root, values=bytes(range(256)))
    exports = _exports(root)
    if not exports and (folder := brush_masks.masks_folder(root)):
        brush_masks.find(layout, folder)
        return layout
    if not exports:
        layout.faults.append(f"no JSON export of Label Studio in {root}, and no brush masks")
        return layout
    pictures = index_pictures(root)
    pairs: dict[Path, str] = {}
    labels: set[str] = set()
    for path in exports:
        _read_export(layout, path, pictures, pairs, labels)
    layout.classes = class_order(layout, sorted(labels))
    layout.read_mask = partial(read_mask, layout.classes)
    layout.by_split = by_folders(layout, pairs)
    spare = sorted(
        path.name
        for path in set(pictures.paths) - set(pairs)
        if not brush_masks.FILE_NAME.match(path.name)
    )
    if spare:
        layout.warnings.append(f"pictures that no annotated task names, ignored: {listed(spare)}")
    return layout


def _exports(root: Path) -> list[Path]:
    """The JSON files at the top of a folder that are lists of tasks."""
    return [path for path in export_files(root) if _is_export(path)]


def _is_export(path: Path) -> bool:
    start = head(path)
    if not start.startswith(b"["):  # files of other tools are large objects: they are not parsed
        return False
    try:
        tasks = read_json(path)
    except InputError:
        return any(f'"{key}"'.encode() in start for key in _TASK_KEYS)
    first = tasks[0] if tasks else None
    return isinstance(first, dict) and any(key in first for key in _TASK_KEYS)


def _read_export(
    layout: Layout,
    path: Path,
    pictures: PictureIndex,
    pairs: dict[Path, str],
    labels: set[str],
) -> None:
    """Add an export's pairs and labels."""
    try:
        tasks = read_json(path)
    except InputError as error:
        layout.faults.append(str(error))
        return
    notes: dict[str, list[str]] = defaultdict(list)
    missing: list[str] = []
    for place in newest_places(tasks):
        name = task_name(tasks[place], place)
        try:
            labelled = labelled_areas(tasks[place])
            for note in labelled.notes:
                notes[note].append(name)
            if labelled.regions is None:
                continue
            reference = reference_of(tasks[place])
            picture = pictures.find(reference)
            if picture is None:
                missing.append(f"{path_parts(reference)[-1]} ({name})")
                continue
            if picture in pairs:
                other = pairs[picture].rpartition("/")[2]
                raise InputError(f"its picture {picture.name} is that of {other} too; keep one")
            pairs[picture] = f"{path}#{place} ({name})"
            labels.update(region.label for region in labelled.regions)
        except InputError as error:
            layout.faults.append(f"{path.name}, {name}: {error}")
    if missing:
        layout.faults.append(
            f"{path.name} names pictures that are not below {layout.root}: {listed(missing)}"
        )
    layout.warnings += [f"{path.name}: {note}: {listed(names)}" for note, names in notes.items()]
