"""Short timings: what nobody relies on need not be sure, and others keep this machine busy.

As a program, it is the command line with them.
"""

from dataclasses import replace
from typing import Any

import pytest

from autoseg.core.records import MeasurePlan
from autoseg.device import measure

WHOLE = MeasurePlan.confirm


def confirm(*statistic: Any) -> MeasurePlan:
    """As many runs as are promised, over no more time than they need."""
    return replace(WHOLE(*statistic), min_s=0.1, max_s=5.0, warmup_s=0.1)


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MeasurePlan, "confirm", confirm)
    patch.setattr(measure, "REST_S", 0.1)


if __name__ == "__main__":
    from autoseg.cli import main

    shorten(pytest.MonkeyPatch())
    main()
