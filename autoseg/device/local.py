"""This machine as a device: the runner in a process of its own, so that only it is timed."""

import dataclasses
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autoseg.device.answers import Answer
from autoseg.device.lock import machine_lock
from autoseg.device.process import Broken, run_runner
from autoseg.device.profile import Profile
from autoseg.records import (
    CandidateError,
    DeviceError,
    DeviceInfo,
    InputError,
    Measurement,
    MeasurePlan,
    file_digest,
)

log = logging.getLogger(__name__)

START_S = 120.0
# A runner with a core of its own gets over 99 % of it; below this the tail is its neighbours'.
BUSY = 0.95


class LocalDevice:
    """This machine, timed as its profile says.

    `shapes` gives sizes that a model leaves open (input name -> shape); `wait_s` is how long
    another measurement on this machine is waited for.
    """

    def __init__(
        self,
        profile: Profile | None = None,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
        wait_s: float = 300.0,
    ) -> None:
        self.profile = profile or Profile(name="local", kind="local")
        self._shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
        self._wait_s = wait_s
        self._info: DeviceInfo | None = None

    def describe(self) -> DeviceInfo:
        if self._info is None:
            facts = self._run([self._settings({})], START_S).facts
            self._info = DeviceInfo(
                self.profile.name, facts.cpu, facts.runtime, facts.threads, facts.provider
            )
        return self._info

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        onnx = Path(onnx).resolve()
        if not onnx.is_file():
            raise InputError(f"no ONNX file at {onnx}")
        digest = file_digest(onnx)
        arguments = [str(onnx), self._settings(dataclasses.asdict(plan))]
        limit_s = START_S + 3 * plan.warmup_s + 10 * plan.max_s
        with machine_lock(f"timing {onnx.name}", self._wait_s) as lock:
            # The runner holds the lock too: it is not free while an orphan of ours still times.
            answer = self._run(arguments, limit_s, (lock,))
        facts, result = answer.facts, answer.result
        if facts.provider == "CPUExecutionProvider" and result.cpu_share < BUSY:
            text = "other programs had the core for %.0f %% of the time that %s was timed"
            log.warning(text, 100 * (1 - result.cpu_share), onnx.name)
        return Measurement(
            device=self.profile.name,
            phase=plan.phase,
            runtime=facts.runtime,
            threads=facts.threads,
            provider=facts.provider,
            onnx_digest=digest,
            taken_at=datetime.now(UTC).isoformat(timespec="seconds"),
            **result.model_dump(exclude={"cpu_share"}),
        )

    def predict(
        self, onnx: Path, images: Iterable[npt.NDArray[np.uint8]]
    ) -> list[npt.NDArray[np.uint8]]:
        from autoseg.device.predict import class_maps

        return class_maps(Path(onnx), images)

    def close(self) -> None:
        """Nothing stays open between verbs."""

    def _settings(self, plan: dict[str, Any]) -> str:
        own = {
            "threads": self.profile.threads,
            "affinity": self.profile.affinity[0] if self.profile.affinity else None,
            "provider": self.profile.provider_names[0],
        }
        return json.dumps({**plan, **own, "shapes": self._shapes if plan else {}})

    def _run(self, arguments: list[str], limit_s: float, kept_open: Sequence[int] = ()) -> Answer:
        threads = self.profile.threads
        try:
            output = run_runner(arguments, threads=threads, limit_s=limit_s, kept_open=kept_open)
        except Broken as error:
            raise self._blame(arguments, error) from error
        return Answer(output)

    def _blame(self, arguments: list[str], broken: Broken) -> CandidateError | DeviceError:
        if len(arguments) == 1:
            return DeviceError(f"this machine cannot measure: the runner {broken}")
        # Where the machine still answers without the model, it was the model's fault.
        self._run(arguments[1:], START_S)
        return CandidateError(f"timing {arguments[0]}: the runner {broken}")


def local_device(
    profile: Profile | None = None, *, shapes: Mapping[str, Sequence[int]] | None = None
) -> LocalDevice:
    """This machine, timed as its profile says."""
    return LocalDevice(profile, shapes=shapes)
