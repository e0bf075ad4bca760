"""What is known of a device from earlier days: its calm speed, and how far its figures spread.

One JSON line a confirming measurement, in a file of the user's cache for each fingerprint. Without
it, a machine that is slow all day would pass for calm, and an interval would only cover one
process (Kalibera and Jones, Rigorous benchmarking in reasonable time, ISMM 2013, 4: figures vary
between runs, between processes, and between sittings).
"""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from autoseg.core.errors import AutosegError
from autoseg.core.serialize import from_json

log = logging.getLogger(__name__)

MAX_ROWS = 500
SITTING_GAP_S = 900.0  # between two measurements, from which they are of two sittings
# Standard deviations of ln ms before anything is known, each with the weight of so many degrees
# of freedom: between the processes of a model, and between sittings.
PRIOR_SD = {"p50": 0.015, "p90": 0.03, "relative": 0.007}
PRIOR_WEIGHT = 4.0
DEVICE_WEIGHT = 4.0  # of the device's spread beside that of a model's own processes
PRIOR_SITTING_SD = {"p50": 0.025, "p90": 0.03}
PRIOR_SITTING_WEIGHT = 2.0
# Over the calm median, from which a sitting is of a slow day: it is told apart, not covered.
MAX_SITTING_RATIO = 1.15


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One confirming measurement: its reference model's calm median and p90, and the variances of
    ln ms between its processes, by statistic (`PRIOR_SD` lists them)."""

    taken_s: float
    reference_ms: float
    reference_p90_ms: float
    processes: int
    variances: Mapping[str, float]


@dataclass(frozen=True)
class Spread:
    """Standard deviations of ln ms on a device: between processes, and between sittings."""

    process: Mapping[str, float] = field(default_factory=lambda: dict(PRIOR_SD))
    sitting: Mapping[str, float] = field(default_factory=lambda: dict(PRIOR_SITTING_SD))

    def of_model(self, sample: Sample) -> Spread:
        """For one model: what the device says, and what its own processes do."""
        return replace(
            self, process={n: _of_model(n, sd, sample) for n, sd in self.process.items()}
        )


class History:
    """The samples of one device, oldest first; `folder` None keeps them in memory alone."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self._path = folder / f"{fingerprint}.jsonl" if folder else None
        self.samples: list[Sample] = _read(self._path) if self._path else []

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(asdict(sample)) + "\n")
        except OSError as error:  # a figure without a history is only less certain
            log.debug("the history of the device was not written: %s", error)

    def calm_ms(self) -> float | None:
        """The reference model's median where the machine is calm: the faster half of sittings."""
        each = [median_of(sitting, "reference_ms") for sitting in _sittings(self.samples)]
        return calm_median(each) if each else None

    def spread(self) -> Spread:
        process = {name: _pooled_sd(name, self.samples) for name in PRIOR_SD}
        fields = {"p50": "reference_ms", "p90": "reference_p90_ms"}
        sittings = _sittings(self.samples)
        return Spread(process, {n: _sitting_sd(n, sittings, each) for n, each in fields.items()})


def _of_model(name: str, device_sd: float, sample: Sample) -> float:
    own, freedom = sample.variances.get(name), sample.processes - 1
    if own is None:
        return device_sd
    total = DEVICE_WEIGHT * device_sd**2 + freedom * own
    return math.sqrt(total / (DEVICE_WEIGHT + freedom))


def cache_folder() -> Path:
    """Where the histories of devices are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "autoseg" / "devices"


def sample_of(
    reference_ms: float, reference_p90_ms: float, process_ms: Mapping[str, Sequence[float]]
) -> Sample:
    """From the reference's figures, and those of each process by statistic."""
    variances = {
        name: float(np.var(np.log(each), ddof=1))
        for name, each in process_ms.items()
        if len(each) > 1
    }
    count = max(map(len, process_ms.values()), default=1)
    return Sample(
        taken_s=time.time(),
        reference_ms=reference_ms,
        reference_p90_ms=reference_p90_ms,
        processes=count,
        variances=variances,
    )


def _read(path: Path) -> list[Sample]:
    try:
        lines = path.read_text().splitlines()[-MAX_ROWS:]
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        try:
            sample = from_json(Sample, json.loads(line))
            if _plausible(sample):
                found.append(sample)
        except (ValueError, TypeError, AttributeError, AutosegError):
            continue  # a torn or foreign line
    return found


def _plausible(sample: Sample) -> bool:
    figures = (sample.reference_ms, sample.reference_p90_ms)
    numbers = [sample.taken_s, *figures, *sample.variances.values()]
    return all(isinstance(n, int | float) and math.isfinite(n) and n >= 0 for n in numbers) and (
        min(figures) > 0 and sample.processes > 0
    )


def _pooled_sd(name: str, samples: Sequence[Sample]) -> float:
    """Over all models of the device: three processes of one alone say little."""
    known = [(s.processes - 1, s.variances[name]) for s in samples if name in s.variances]
    freedom = PRIOR_WEIGHT + sum(count for count, _ in known)
    total = PRIOR_WEIGHT * PRIOR_SD[name] ** 2 + sum(count * each for count, each in known)
    return math.sqrt(total / freedom)


def _sittings(samples: Sequence[Sample]) -> list[list[Sample]]:
    groups: list[list[Sample]] = []
    last_s = -math.inf
    for sample in sorted(samples, key=lambda s: s.taken_s):
        if sample.taken_s - last_s > SITTING_GAP_S:
            groups.append([])
        groups[-1].append(sample)
        last_s = sample.taken_s
    return groups


def median_of(samples: Sequence[Sample], name: str) -> float:
    return float(statistics.median(getattr(sample, name) for sample in samples))


def calm_median(medians_ms: Sequence[float]) -> float:
    """The median of the faster half: other programs only ever make a machine slower."""
    return statistics.median(sorted(medians_ms)[: (len(medians_ms) + 1) // 2])


def _sitting_sd(statistic: str, sittings: Sequence[Sequence[Sample]], name: str) -> float:
    """Between the medians of the sittings, but for those of slow days."""
    medians = [median_of(sitting, "reference_ms") for sitting in sittings]
    usual = [
        median_of(sitting, name)
        for sitting, median in zip(sittings, medians, strict=True)
        if median <= MAX_SITTING_RATIO * calm_median(medians)
    ]
    known = max(0, len(usual) - 1)
    variance = float(np.var(np.log(usual), ddof=1)) if known else 0.0
    total = PRIOR_SITTING_WEIGHT * PRIOR_SITTING_SD[statistic] ** 2 + known * variance
    return math.sqrt(total / (PRIOR_SITTING_WEIGHT + known))
