"""Find the attribute of a region that names its class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from autoseg.core.errors import InputError
from autoseg.data.layout import listed

# Of several attributes, one with such a name is the class.
_USUAL = ("class", "label", "category", "classname", "categoryname", "type", "object", "name")
OBJECT = "object"


def class_attribute(attributes: Iterable[dict[str, Any]]) -> str:
    """The attribute that names the class of a region: the only one, or the only one with a usual
    name; "" if the regions have none. Raises InputError if it is open.
    """
    counts = Counter(key for one in attributes for key in one)
    usual = [key for key in counts if _plain(key) in _USUAL]
    for keys in (list(counts), usual):
        if len(keys) == 1:
            return keys[0]
    if not counts:
        return ""
    raise InputError(
        f"the regions have several attributes, {listed(sorted(counts))}: name the one that holds"
        " the class `class`, and the others otherwise"
    )


def _plain(key: str) -> str:
    return "".join(filter(str.isalnum, key)).lower()


def label_of(attributes: dict[str, Any], key: str) -> str:
    """The class of a region: a text, a number, or the one ticked box of several; "" if it has
    none. Raises InputError for several ticked boxes and other values.
    """
    if not key:
        return OBJECT
    value = attributes.get(key)
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        if len(ticked) > 1:
            raise InputError(f"a region has several classes: {key}: {listed(ticked)}")
        value = next(iter(ticked), "")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"class_{value}"
    if value is None or isinstance(value, str):
        return (value or "").strip()
    raise InputError(f"a region's {key} must be a text, got {value!r:.40}")
