"""Short timings, and training workers only where something is trained: both keep runs short.

As a program, it is the command line with them.
"""

from dataclasses import replace
from typing import Any

import pytest

from autoseg.core.records import MeasurePlan
from autoseg.device import measure
from autoseg.pools.local import LocalPool

WHOLE = MeasurePlan.confirm
START = LocalPool.start


def confirm(*statistic: Any, **given: Any) -> MeasurePlan:
    """As many runs as are promised, in one process, and no more where their interval is wide."""
    whole = WHOLE(*statistic, **given)
    few = {"max_runs": whole.min_runs, "min_s": 0.1, "max_s": 5.0, "warmup_s": 0.1}
    return replace(whole, processes=1, **few)


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MeasurePlan, "confirm", confirm)
    patch.setattr(measure, "REST_S", 0.1)
    # A worker imports torch for seconds; most runs of the tests train nothing.
    patch.setattr(LocalPool, "start", lambda pool: None)


if __name__ == "__main__":
    from autoseg.cli import main

    shorten(pytest.MonkeyPatch())
    main()
