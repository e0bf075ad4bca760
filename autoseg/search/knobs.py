"""How the search reads a knob: its choices in order."""

from __future__ import annotations

from typing import Any

from autoseg.core.units import parse_hw
from autoseg.networks.space import Knob


def ordered_choices(knob: Knob) -> list[Any]:
    """A knob's choices from small to large (resolutions by area); as written if no numbers."""
    if knob.name == "resolution":
        return sorted(knob.choices, key=lambda c: parse_hw(c)[0] * parse_hw(c)[1])
    return sorted(knob.choices) if knob.ordered else list(knob.choices)
