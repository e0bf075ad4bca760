"""autoseg finds the fastest accurate-enough segmentation network for a device."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoseg.api.optimize import optimize as optimize
    from autoseg.api.remeasure import remeasure as remeasure
    from autoseg.api.session import Interrupted as Interrupted
    from autoseg.device.fake import FakeDevice as FakeDevice
    from autoseg.networks import build as build
    from autoseg.networks.cost import cost as cost
    from autoseg.run.result import Result as Result

__version__ = "0.1.0"

# Public names and where they live: nothing heavy is imported before it is asked for.
_PUBLIC = {
    "build": "autoseg.networks",
    "cost": "autoseg.networks.cost",
    "optimize": "autoseg.api.optimize",
    "Interrupted": "autoseg.api.session",
    "remeasure": "autoseg.api.remeasure",
    "Result": "autoseg.run.result",
    "FakeDevice": "autoseg.device.fake",
    **dict.fromkeys(
        ("AutosegError", "InputError", "DeviceError", "CandidateError"), "autoseg.core.errors"
    ),
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'autoseg' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
