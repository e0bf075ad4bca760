"""autoseg finds the fastest accurate-enough segmentation network for a device."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoseg.device.fake import FakeDevice as FakeDevice
    from autoseg.networks import build as build
    from autoseg.networks.cost import cost as cost
    from autoseg.optimize import Interrupted as Interrupted
    from autoseg.optimize import optimize as optimize
    from autoseg.remeasure import remeasure as remeasure
    from autoseg.run.result import Result as Result

__version__ = "0.1.0"

# Public names and where they live: nothing heavy is imported before it is asked for.
_PUBLIC = {
    "build": "autoseg.networks",
    "cost": "autoseg.networks.cost",
    "optimize": "autoseg.optimize",
    "Interrupted": "autoseg.optimize",
    "remeasure": "autoseg.remeasure",
    "Result": "autoseg.run.result",
    "FakeDevice": "autoseg.device.fake",
    **dict.fromkeys(
        ("AutosegError", "InputError", "DeviceError", "CandidateError"), "autoseg.core.records"
    ),
}
__all__ = [*_PUBLIC]


class _Package(ModuleType):
    """Keeps `autoseg.cost` and its like the functions, whoever imports the modules."""

    def __getattr__(self, name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'autoseg' has no attribute {name!r}")
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system binds a submodule to its package's attribute of the same name.
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
