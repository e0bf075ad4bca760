"""A machine measured through a runner: the Device protocol over any transport."""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.core.errors import CandidateError, DeviceError
from autoseg.core.records import DeviceInfo, Measurement, MeasurePlan
from autoseg.core.units import HW
from autoseg.device import aa_comparison
from autoseg.device.aa_comparison import AAResult, run_aa_test
from autoseg.device.device_profile import Profile
from autoseg.device.findings import blockers, findings
from autoseg.device.history import History, cache_folder, calm_median
from autoseg.device.measure import measure
from autoseg.device.model_files import files_of
from autoseg.device.model_session import Image, ModelSession, locally_named
from autoseg.device.rpc import Launcher
from autoseg.device.rpc_schema import Hello, Node, Status, parse, parse_nodes
from autoseg.device.runner_connection import START_S, Connection
from autoseg.device.timing import REFERENCE_WARMUP_S

log = logging.getLogger(__name__)

# The name that is claimed on a machine while something is timed there.
CLAIM_NAME = "autoseg"


class Board:
    """One machine, timed as its profile says, through a runner that a `Launcher` starts there.

    `shapes` fills the sizes that a model leaves open (input name -> shape; the name "" stands for
    the only input with open sizes).
    """

    def __init__(
        self,
        profile: Profile,
        launcher: Launcher,
        *,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.profile, self.launcher = profile, launcher
        self.connection = Connection(launcher, CLAIM_NAME)
        self._calm_ms: list[float] = []
        self._shapes = {name: list(shape) for name, shape in (shapes or {}).items()}
        self._aa_result: AAResult | None = None

    def describe(self) -> DeviceInfo:
        hello, wanted = self.hello(), self.profile.provider_names
        missing = blockers(self.profile, hello)
        if missing or hello.runtime is None:
            raise DeviceError(f"{self.launcher.name}: {'; '.join(map(str, missing))}")
        return DeviceInfo(
            name=self.profile.name,
            model=hello.cpu,
            runtime=hello.runtime,
            threads=self.profile.threads,
            provider="+".join(wanted),
            channel_step=self.profile.channel_step,
            here=self.launcher.here,
            session=tuple(hello.session),
            affinity=tuple(sorted(self.profile.affinity or ())),
        )

    def measure(self, onnx: Path, plan: MeasurePlan) -> Measurement:
        onnx = _existing(onnx)
        with self.connection.held(f"timing {onnx.name}"):
            self.describe()
            if self.launcher.keeps_claim and self._aa_result is None:
                self.compare_with_itself()
            found = measure(self, onnx, plan)
        if found.flags:
            log.warning("%s: %s", onnx.name, "; ".join(found.flags))
        return found

    def predict(self, onnx: Path, images: Iterable[Image]) -> list[Image]:
        onnx = _existing(onnx)
        with self.connection.turn:
            self.describe()
            session = self.session({"model": onnx}, f"running {onnx.name}")
            maps = [session.class_map("model", image) for image in images]
            self.connection.ask("close")
        return maps

    def close(self) -> None:
        """Ends the runner at once, even while it works; closing twice is fine."""
        self.connection.close()

    @property
    def calm_ms(self) -> float | None:
        """The reference's median on the calm machine; None before the first measurement."""
        return calm_median(self._calm_ms) if self._calm_ms else None

    @functools.cached_property
    def history(self) -> History:
        """What earlier days say of this device."""
        return History(cache_folder(), self.describe().fingerprint)

    def note_calm(self, calm_ms: float) -> None:
        """Adds one calm median; the minimum of all would be luck, and could only fall."""
        self._calm_ms.append(calm_ms)

    def hello(self) -> Hello:
        """Facts of the machine that do not change."""
        return self.connection.hello()

    def status(self, window_s: float = 0.3) -> Status:
        """State of the machine; the load of other programs is taken over `window_s`."""
        with self.connection.named():
            affinity = self.profile.affinity
            reply = self.connection.ask("status", window_s=window_s, affinity=affinity)
            return parse(Status, reply, "status")

    def nodes(self, onnx: Path, runs: int = 20) -> list[Node]:
        """The nodes of a model: the provider that runs each, and its mean ms per run."""
        onnx = _existing(onnx)

        def profiled() -> dict[str, Any]:
            path, plan = self.connection.upload(onnx), self._plan()
            with locally_named({path: onnx}):
                return self.connection.channel().ask(
                    "nodes", limit_s=START_S, path=path, plan=plan, runs=runs
                )

        with self.connection.held(f"profiling {onnx.name}"), self.connection.named():
            self.describe()
            return parse_nodes(self.connection.twice(profiled))

    def compare_with_itself(self) -> AAResult:
        """Runs the A/A test: is a model as fast as itself here, within 3 %?

        Repeats it once where it fails. Raises DeviceError with the suspected reasons for a board
        that fails twice; for this machine it logs a warning.
        """
        with self.connection.held("comparing a model with itself"):
            found = self._compare()
            if not found.passed:
                found = self._compare()
            if not found.passed:
                self._report_failed(found)
        self.note_calm(found.calm_ms)
        self._aa_result = found
        return found

    def _compare(self) -> AAResult:
        try:
            models = dict.fromkeys(aa_comparison.MODELS, self.reference)
            session = self.session(models, "comparing")
            for name in aa_comparison.MODELS:
                session.warm(name, REFERENCE_WARMUP_S)
            return run_aa_test(session.blocks)
        except CandidateError as error:
            text = f"{self.launcher.name} cannot run the reference model"
            raise DeviceError(f"{text}: {error}") from error

    def _report_failed(self, found: AAResult) -> None:
        text = f"{self.launcher.name} cannot be trusted yet: {found.doubt}"
        severe = [f.text for f in findings(self.profile, self.hello(), self.status()) if f.severe]
        reason = "; ".join(severe) or "stop other programs there, and try again"
        if self.launcher.keeps_claim:
            raise DeviceError(f"{text}: {reason}")
        log.warning("%s: %s", text, reason)

    def session(
        self,
        models: Mapping[str, Path],
        doing: str,
        *,
        frames: Mapping[str, HW] | None = None,
        fresh: bool = False,
    ) -> ModelSession:
        """Opens models there, as ModelSession says; `doing` stands in messages."""
        plan = self._plan()
        return ModelSession(self.connection, plan, models, doing, frames=frames, fresh=fresh)

    def _plan(self) -> dict[str, Any]:
        return {
            "threads": self.profile.threads,
            "providers": self.profile.provider_names,
            "affinity": self.profile.affinity,
            "shapes": self._shapes,
        }

    @functools.cached_property
    def reference(self) -> Path:
        """The reference model as a file that lives as long as this device."""
        from autoseg.device.graphs import reference_bytes

        self._reference_file = tempfile.NamedTemporaryFile(
            prefix="autoseg-reference-", suffix=".onnx"
        )
        self._reference_file.write(reference_bytes())
        self._reference_file.flush()
        return Path(self._reference_file.name)


def _existing(onnx: Path) -> Path:
    """The path from the root, once all files of the model were found. Raises InputError."""
    return files_of(Path(onnx)).onnx
