"""The records that all rooms exchange. Standard library only.

Names carry units: ``_ms _s _bytes _hw``. IoU is a fraction 0..1. Every record is frozen, and
keyword-only above five fields. `serialize.to_json` writes a record, `from_json` reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

from autoseg.core.serialize import digest
from autoseg.core.units import HW, Choice, parse_hw, size_text

Statistic = Literal["p50", "p90", "p95", "p99", "mean"]
Phase = Literal["screen", "confirm"]
SlotKind = Literal["cpu", "cuda"]  # what a job is trained on
Latency = Literal["model", "frame"]  # of the network alone, or of a frame with both its resizes
State = Literal[
    "proposed", "measured", "too_slow", "stopped", "scored", "confirmed", "rejected", "failed"
]
STATE_LABELS: dict[State, str] = {  # the names of states in output for users
    "proposed": "proposed",
    "measured": "not trained",
    "too_slow": "too slow",
    "stopped": "stopped early",
    "scored": "trained",
    "confirmed": "confirmed",
    "rejected": "rejected",
    "failed": "failed",
}
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
LATENCIES: tuple[Latency, ...] = get_args(Latency)
OTHER_LATENCY: dict[Latency, Latency] = {"model": "frame", "frame": "model"}
IGNORE_INDEX = 255
SCHEMA = 1  # of all JSON output; rises when a field is removed or changes its meaning


@dataclass(frozen=True)
class Constraints:
    """Latency ceiling and IoU floor; `statistic` is the promised latency (p90 as in MLPerf).

    `latency` says what has it: the model alone, or a whole frame of `frame_hw` pixels, from the
    camera's picture to its class map. Where `frame_hw` is known, both are measured.
    """

    max_latency_ms: float
    min_iou: float
    statistic: Statistic = "p90"
    latency: Latency = "model"
    frame_hw: HW | None = None

    @property
    def promised(self) -> str:
        """What the ceiling is for, as tables name it: "p90", or "frame p90"."""
        return statistic_name(self.statistic, self.latency)

    @property
    def ceiling(self) -> str:
        """The ceiling in words: ``"33 ms"``, or ``"33 ms a frame of 1920x1080"``."""
        of = f" a frame{f' of {size_text(self.frame_hw)}' if self.frame_hw else ''}"
        return f"{self.max_latency_ms:g} ms{of if self.latency == 'frame' else ''}"


def statistic_name(statistic: str, latency: Latency) -> str:
    """``"p90"`` of the model alone, ``"frame p90"`` of whole frames."""
    return f"frame {statistic}" if latency == "frame" else statistic


@dataclass(frozen=True)
class Candidate:
    """One choice for every knob in use: ``(name, value)`` pairs sorted by name."""

    space: str
    choices: tuple[tuple[str, Choice], ...]

    @classmethod
    def of(cls, space: str, choices: Mapping[str, Choice]) -> Candidate:
        return cls(space, tuple(sorted(choices.items())))

    @cached_property
    def key(self) -> str:
        """12 hex digits of the SHA-256 over canonical JSON."""
        return digest({"space": self.space, "choices": dict(self.choices)})

    def __getitem__(self, knob: str) -> Choice:
        return dict(self.choices)[knob]

    @property
    def input_hw(self) -> HW:
        return parse_hw(self["resolution"])

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.choices)


@dataclass(frozen=True)
class LayerCost:
    """The cost of all layers of one kind; the bytes are float32 activations, read and written."""

    layers: int = 0
    macs: int = 0
    bytes_moved: int = 0

    def at(self, area_ratio: float) -> LayerCost:
        """The cost for an input of `area_ratio` times the area."""
        return LayerCost(
            self.layers, round(self.macs * area_ratio), round(self.bytes_moved * area_ratio)
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Parameters, multiply-accumulates of convolutions and matrix products, and bytes written.

    The bytes are those of float32 activations. Then the same by kind of layer: depthwise, 1x1 and
    all other convolutions, matrix products, and the rest (resizing, pooling, sums, joining).
    """

    params: int
    macs: int
    activation_bytes: int
    depthwise: LayerCost = LayerCost()
    pointwise: LayerCost = LayerCost()
    convolution: LayerCost = LayerCost()
    product: LayerCost = LayerCost()
    other: LayerCost = LayerCost()

    @property
    def kinds(self) -> tuple[LayerCost, ...]:
        return self.depthwise, self.pointwise, self.convolution, self.product, self.other

    def at(self, area_ratio: float) -> Cost:
        """The cost of the same network for an input of `area_ratio` times the area."""
        return Cost(
            params=self.params,
            macs=round(self.macs * area_ratio),
            activation_bytes=round(self.activation_bytes * area_ratio),
            depthwise=self.depthwise.at(area_ratio),
            pointwise=self.pointwise.at(area_ratio),
            convolution=self.convolution.at(area_ratio),
            product=self.product.at(area_ratio),
            other=self.other.at(area_ratio),
        )


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """A device's description of itself. Measurements are reused under the same `fingerprint`.

    `affinity` are the cores that a measured process is bound to, in order; none where the system
    chooses. `session` are the settings with which its runtime opens a model. `channel_step` is the
    multiple of channels that it prefers; `here` is true where it is this machine, or shares it, so
    that training here disturbs a measurement there; `boards` is the number of devices that can
    measure side by side.
    """

    name: str
    model: str
    runtime: str
    threads: int
    provider: str
    channel_step: int = 1
    here: bool = False
    boards: int = 1
    affinity: tuple[int, ...] = ()
    session: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        facts = ("name", "model", "runtime", "threads", "provider", "affinity", "session")
        return digest({name: getattr(self, name) for name in facts})


@dataclass(frozen=True, kw_only=True)
class MeasurePlan:
    """How long to measure: `screen` stops once the interval clears `ceiling_ms`.

    `latency` is what the runs are of, and `frame_hw` the size of the frames: with it the other
    latency is measured as well, from fewer runs. The runs are shared out between
    `processes`, each of which is started anew.
    """

    phase: Phase
    statistic: Statistic = "p90"
    ceiling_ms: float | None = None
    min_runs: int = 40
    max_runs: int = 400
    min_s: float = 0.0
    max_s: float = 1.0
    warmup_s: float = 0.2
    processes: int = 1
    latency: Latency = "model"
    frame_hw: HW | None = None

    @classmethod
    def screen(cls, constraints: Constraints, *, both: bool = False) -> MeasurePlan:
        """A short one of the promised latency, or of `both`."""
        frames = both or constraints.latency == "frame"
        return cls(
            phase="screen",
            statistic="p50",
            ceiling_ms=constraints.max_latency_ms,
            latency=constraints.latency,
            frame_hw=constraints.frame_hw if frames else None,
        )

    @classmethod
    def confirm(
        cls,
        statistic: Statistic = "p90",
        *,
        latency: Latency = "model",
        frame_hw: HW | None = None,
    ) -> MeasurePlan:
        """At least 1,024 runs and 2 s, or 60 s (MLPerf's single stream), in three processes.

        Longer, to 4,096 runs, while the interval is over 2 %. For a network of 0.1 ms, 1,024 runs
        take 0.1 s, whose tail is that moment's: over 2 s, its p90 repeats three times as well.
        Memory lies elsewhere in each process, which alone changes a latency by 1 to 4 %.
        """
        return cls(
            phase="confirm",
            statistic=statistic,
            min_runs=1024,
            max_runs=4096,
            min_s=2.0,
            max_s=60.0,
            warmup_s=0.5,
            processes=3,
            latency=latency,
            frame_hw=frame_hw,
        )


@dataclass(frozen=True)
class BoardLatency:
    """The latency on one of several boards; no p90 where its runs are too few for one."""

    device: str
    p50_ms: float
    p90_ms: float | None


@dataclass(frozen=True)
class FedInput:
    """What one input of a timed model was fed: its sizes, and those that the model declares.

    A size that the model leaves open is declared by its name, or as "?".
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    declared: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """Percentiles of some runs with their 95 % intervals, ms; no p90 where the runs are few."""

    runs: int
    p50_ms: float
    p50_ci_ms: tuple[float, float]
    p90_ms: float | None
    p90_ci_ms: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class FrameParts:
    """A whole frame of `hw` pixels: the medians of its resize, of the model, and of the resize of
    the class map to the frame's size, ms."""

    hw: HW
    resize_ms: float
    inference_ms: float
    resize_back_ms: float

    @property
    def resizes_ms(self) -> float:
        return self.resize_ms + self.resize_back_ms


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A device's measurement of one ONNX file; a percentile that needs more runs is None.

    The figures are of the plan's `latency`: the model alone, or the whole frame. `beside` is the
    other one, and `frame` are the parts of a frame, where both were timed. The intervals hold
    what the same device says another day: they include the spread between processes and between
    sittings. `relative_p50` is the median over the reference model's, block beside block, which
    neither clock nor heat change, and `relative_sd` the standard deviation of its logarithm;
    `process_p50_ms` are the medians of the processes.

    `reference_ms` is the reference model's median beside this one, and `reference_ratio` that over
    the calm device's, today's or an earlier one's; `clock_mhz` was read before and after; `flags`
    are warnings in words. Where several boards measured it, this is the slowest one's; `boards`
    are the figures of each, and `boards_ratio` is the slowest over the fastest p50.
    `quantiles_ms` of a confirming one are 41 evenly spaced quantiles of its runs (0, 2.5 … 100 %).
    `onnx_digest` is over all files of the model.
    """

    device: str
    phase: Phase
    runtime: str
    threads: int
    provider: str
    runs: int
    warmup: int
    min_ms: float
    mean_ms: float
    std_ms: float
    p50_ms: float
    p50_ci_ms: tuple[float, float]
    p90_ms: float | None
    p90_ci_ms: tuple[float, float] | None
    p95_ms: float | None
    p99_ms: float | None
    load_ms: float
    peak_rss_bytes: int
    onnx_digest: str
    taken_at: str
    throttled: bool | None = None
    temperature_c: float | None = None
    reference_ms: float | None = None
    reference_ratio: float | None = None
    redone_blocks: int = 0
    governor: str | None = None
    clock_mhz: tuple[float, float] | None = None
    other_cores: float | None = None
    fallback_nodes: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    boards: tuple[BoardLatency, ...] = ()
    boards_ratio: float | None = None
    quantiles_ms: tuple[float, ...] = ()
    inputs: tuple[FedInput, ...] = ()
    latency: Latency = "model"
    beside: RunTimes | None = None
    frame: FrameParts | None = None
    process_p50_ms: tuple[float, ...] = ()
    relative_p50: float | None = None
    relative_sd: float | None = None
    session: tuple[str, ...] = ()

    def times(self, latency: Latency) -> RunTimes | None:
        """The figures of the model alone or of the whole frame; None where it was not timed."""
        if latency != self.latency:
            return self.beside
        return RunTimes(
            runs=self.runs,
            p50_ms=self.p50_ms,
            p50_ci_ms=self.p50_ci_ms,
            p90_ms=self.p90_ms,
            p90_ci_ms=self.p90_ci_ms,
        )

    @property
    def timed_s(self) -> float:
        """Seconds of the counted runs."""
        return self.runs * self.mean_ms / 1e3

    def supported(self, statistic: Statistic) -> Statistic:
        """The chosen statistic, or the nearest lower one that the number of runs allows."""
        order: list[Statistic] = ["p99", "p95", "p90", "p50"]
        lower = order[order.index(statistic) :] if statistic in order else [statistic]
        return next(name for name in lower if getattr(self, f"{name}_ms") is not None)

    def latency_ms(self, statistic: Statistic) -> float:
        """The statistic that is `supported`."""
        return float(getattr(self, f"{self.supported(statistic)}_ms"))

    def name(self, statistic: Statistic) -> str:
        """What `latency_ms` is of: "p90", or "frame p90"."""
        return statistic_name(self.supported(statistic), self.latency)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The metrics of a trained network at one rung, on one split, from one source.

    `p_floor` is the probability that the IoU is over the floor, by bootstrap over pictures;
    `iou_of` says of which classes the IoU is (`Dataset.iou_of`), None in older ledgers.
    `trained_on` is the kind of slot; each batch was computed in `micro_batches` parts.
    """

    split: Literal["val", "test"]
    source: Literal["torch", "onnx", "board"]
    iou: float
    iou_ci95: tuple[float, float]
    class_iou: tuple[float | None, ...]
    pixel_accuracy: float
    epoch: int
    train_s: float
    seed: int
    decayed: bool = False
    p_floor: float | None = None
    iou_of: str | None = None
    trained_on: SlotKind = "cpu"
    micro_batches: int = 1


@dataclass(frozen=True)
class Job:
    """One piece of training; `decay`: a finalist's short one, the learning rate falls to 0."""

    candidate: Candidate
    from_epoch: int
    to_epoch: int
    decay: bool = False

    @property
    def id(self) -> str:
        return f"{self.candidate.key}-{self.from_epoch}-{self.to_epoch}{'d' * self.decay}"


@dataclass(frozen=True)
class Trained:
    """What a job gives beside its checkpoint: the score, and a contact sheet as JPEG, if any."""

    score: Score
    sheet: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The fold of a candidate's events. `error` is why it was stopped, rejected or failed.

    `agreement` is the share of pixels where the device's class maps equal this machine's. The
    seconds are of its screening, of all its training jobs and of its final check, from their
    start to their end; None where they are not known.
    """

    candidate: Candidate
    state: State
    cost: Cost | None = None
    onnx_bytes: int | None = None
    measurements: tuple[Measurement, ...] = ()
    scores: tuple[Score, ...] = ()
    p_feasible: float | None = None
    error: str | None = None
    agreement: float | None = None
    screened_s: float | None = None
    jobs_s: float | None = None
    confirmed_s: float | None = None

    @property
    def measurement(self) -> Measurement | None:
        """The one that counts: the last (a confirming one comes after the screening one)."""
        return self.measurements[-1] if self.measurements else None

    def score(
        self, split: str = "val", *, source: str | None = None, decayed: bool | None = None
    ) -> Score | None:
        """The last score that matches, or None."""
        for score in reversed(self.scores):
            if (
                score.split == split
                and source in (None, score.source)
                and decayed in (None, score.decayed)
            ):
                return score
        return None

    @property
    def promised(self) -> Score | None:
        """The score on val of the exported, trained file, from the final check; None before it."""
        exported = [s for s in self.scores if s.split == "val" and s.source != "torch"]
        return exported[-1] if exported and self.state in ("confirmed", "rejected") else None

    @property
    def iou(self) -> float | None:
        """IoU on val, from the last score there."""
        score = self.score("val")
        return score.iou if score else None
