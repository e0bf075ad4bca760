"""What would help a run without a front: the change that answers what binds, as a command line.

More time where training was cut off, more knobs, or the smallest change of the constraints.

Feasible means what confirming demands, P(latency and IoU hold) >= 0.9: ends of 95 % intervals are
compared, never the figures themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from autoseg.core.errors import AutosegError
from autoseg.core.feasibility import MIN_P_FEASIBLE, latency_ci_ms, p_iou_met, p_latency_met
from autoseg.core.pareto import meets
from autoseg.core.records import STATE_LABELS, Constraints, Evaluation, Statistic
from autoseg.core.units import duration_text
from autoseg.networks.space import EFFORTS
from autoseg.networks.space_file import load_space
from autoseg.run.commands import Commands
from autoseg.run.declaration import Declaration, flag
from autoseg.search.status import epoch_of

Binds = Literal["ceiling", "floor", "both", "time"]

# What more knobs may gain at the same input: channels, repetition and pooling gave two times.
MAX_TIMES_FASTER = 4.0
# Where latency and IoU each have this probability, both together reach MIN_P_FEASIBLE.
MIN_P_EACH = math.sqrt(MIN_P_FEASIBLE)


class Relaxation(NamedTuple):
    """A change that may make a model feasible: ``option value``, its effect, and the command line
    to type for it."""

    option: str
    value: str
    gives: str
    command: str

    def __str__(self) -> str:
        return f"{self.option} {self.value}".rstrip()

    @property
    def options(self) -> dict[str, str]:
        """Values by option; a relaxation of ceiling and floor has two."""
        words = [self.option, *(self.value.split() or [""])]
        return dict(zip(words[::2], words[1::2], strict=True))


@dataclass(frozen=True, kw_only=True)
class InfeasibleRun:
    """A run without a feasible model, in the view of one device.

    `declaration` holds the constraints of this view, `commands` what the run itself was begun
    with; `rungs` are its epochs. An `interrupted` run may have time left.
    """

    evaluations: Sequence[Evaluation]
    declaration: Declaration
    commands: Commands
    spent_s: float
    device: str | None = None
    rungs: tuple[int, ...] = ()
    interrupted: bool = False

    @property
    def constraints(self) -> Constraints:
        return self.declaration.constraints

    @cached_property
    def measured(self) -> list[Evaluation]:
        return [e for e in self.evaluations if e.measurement]

    @cached_property
    def within_ceiling(self) -> list[Evaluation]:
        """Measured candidates that fit the ceiling, in any state."""
        return [e for e in self.measured if self._fits(e)]

    @cached_property
    def scored(self) -> list[Evaluation]:
        """Candidates with latency and IoU; on another device also those too slow there."""
        return [e for e in self.measured if e.iou is not None and e.state != "failed"]

    @cached_property
    def scored_within_ceiling(self) -> list[Evaluation]:
        """Scored candidates that fit the ceiling, the best IoU first."""
        return sorted((e for e in self.scored if self._fits(e)), key=iou_of, reverse=True)

    def _fits(self, evaluation: Evaluation) -> bool:
        at = self.latency_ms(evaluation)
        return evaluation.state != "too_slow" and at <= self.constraints.max_latency_ms

    def latency_ms(self, evaluation: Evaluation) -> float:
        measurement = evaluation.measurement
        return measurement.latency_ms(self.constraints.statistic) if measurement else math.inf

    def latency_certain(self, evaluation: Evaluation) -> bool:
        measurement = evaluation.measurement
        if measurement is None:
            return False
        return p_latency_met(measurement, self.constraints) >= MIN_P_EACH

    def iou_certain(self, evaluation: Evaluation) -> bool:
        score = evaluation.score("val")
        if score is None:
            return False
        known = score.p_floor
        met = p_iou_met(score, self.constraints.min_iou) if known is None else known
        return met >= MIN_P_EACH

    @cached_property
    def waiting(self) -> list[Evaluation]:
        """Those that meet both figures and miss only the final check."""
        settled = ("rejected", "confirmed", "stopped")
        met = [e for e in self.scored_within_ceiling if meets(e, self.constraints)]
        return [e for e in met if e.state not in settled]

    def again_here(self, name: str = "") -> str:
        """The command that measures the run, or another of that `name`, on this device."""
        folder = self.commands.folder.parent / (name or self.commands.folder.name)
        commands = replace(self.commands, folder=folder)
        again = commands.remeasure(str(self.device), self.declaration.max_latency)
        return f"`{again}`"

    def unfinished(self, evaluation: Evaluation) -> bool:
        """Whether its training could go on."""
        going = evaluation.state in ("measured", "scored", "rejected", "confirmed")
        return going and epoch_of(evaluation) < max(self.rungs, default=0)


def relaxations(run: InfeasibleRun, binds: Binds) -> tuple[Relaxation, ...]:
    """What would help against what binds, the first thing to try first."""
    if run.waiting or binds == "time":  # the constraints may be met: nothing is to be relaxed yet
        return tuple(_more_time(run))
    # More training does not make a network faster.
    more = [] if binds == "ceiling" else _more_time(run)
    known, knobs = _relaxed(run), _more_knobs(run) if _within_reach(run) else []
    slower = [] if knobs and binds == "floor" else _higher_ceiling_untrained(run)
    if binds == "ceiling":
        return (*known, *slower, *knobs)
    return (*more, *knobs, *known, *slower)


class _Requirement(NamedTuple):
    """The constraints under which a model would be feasible."""

    ceiling_ms: float
    floor: float
    of: Evaluation


def _requirements(run: InfeasibleRun) -> list[_Requirement]:
    constraints, found = run.constraints, []
    for evaluation in run.scored:
        ceiling_ms, floor = constraints.max_latency_ms, constraints.min_iou
        if not run.latency_certain(evaluation):
            ceiling_ms = max(ceiling_ms, _safe_ceiling_ms(evaluation, constraints.statistic))
        if not run.iou_certain(evaluation):
            floor = _safe_floor(evaluation)
        if floor > 0:
            found.append(_Requirement(ceiling_ms, floor, evaluation))
    return found


def _relaxed(run: InfeasibleRun) -> list[Relaxation]:
    """The smallest change of the floor alone, of the ceiling alone, and of both, if any."""
    constraints, needs = run.constraints, _requirements(run)
    slow = [n for n in needs if n.ceiling_ms > constraints.max_latency_ms]
    fast = [n for n in needs if n not in slow and n.floor < constraints.min_iou]
    accurate = [n for n in slow if n.floor >= constraints.min_iou]
    floor_alone = max(fast, key=lambda n: (n.floor, -run.latency_ms(n.of)), default=None)
    ceiling_alone = min(accurate, key=lambda n: (n.ceiling_ms, -iou_of(n.of)), default=None)
    lowest = floor_alone.floor if floor_alone else 0.0
    highest_ms = ceiling_alone.ceiling_ms if ceiling_alone else math.inf
    # Less of each than the changes of one alone; a doubled ceiling counts as much as 0.1 of IoU.
    between = [n for n in slow if lowest < n.floor < constraints.min_iou]
    between = [n for n in between if n.ceiling_ms < highest_ms]
    both = min(between, key=lambda n: math.log2(n.ceiling_ms) - 10 * n.floor, default=None)
    return [_relaxation(need, run) for need in (floor_alone, ceiling_alone, both) if need]


def _relaxation(need: _Requirement, run: InfeasibleRun) -> Relaxation:
    changed: dict[str, Any] = {}
    if need.ceiling_ms > run.constraints.max_latency_ms:
        changed["max_latency"] = f"{need.ceiling_ms:g}ms"
    if need.floor < run.constraints.min_iou:
        changed["min_iou"] = need.floor
    model, known = need.of, figures_text(need.of, run.constraints.statistic)
    return _changed(run, changed, f"{model.candidate.key} with {known}; {status_text(model)}")


def _changed(run: InfeasibleRun, changed: dict[str, Any], gives: str) -> Relaxation:
    """The change of constraints: a new run, or a remeasuring under another ceiling."""
    pairs = [(flag(name), f"{value}") for name, value in changed.items()]
    words = [word for pair in pairs for word in pair]
    if run.device is None:
        command = run.commands.anew(**changed)
    elif "min_iou" not in changed:
        command = run.commands.remeasure(run.device, changed["max_latency"])
    else:  # the floor is the run's own
        command = run.commands.anew(min_iou=changed["min_iou"])
        gives += f"; then {run.again_here(run.commands.free_name())}"
    return Relaxation(words[0], " ".join(words[1:]), gives, command)


def _higher_ceiling_untrained(run: InfeasibleRun) -> list[Relaxation]:
    """A ceiling for the fastest untrained candidate, where no scored one needs it higher."""
    constraints = run.constraints
    known = any(need.floor >= constraints.min_iou for need in _requirements(run))
    untrained = [e for e in run.measured if e.iou is None and e.state == "too_slow"]
    if known or not untrained:
        return []
    chosen = min(untrained, key=run.latency_ms)
    value = f"{_safe_ceiling_ms(chosen, constraints.statistic):g}ms"
    fits = f"{chosen.candidate.key} ({chosen.candidate}) would fit"
    return [_changed(run, {"max_latency": value}, f"{fits}; it is untrained, its IoU is unknown")]


def _more_time(run: InfeasibleRun) -> list[Relaxation]:
    """To continue this run, where its candidates could still be trained or confirmed."""
    untrained = sum(e.state == "measured" and e.iou is None for e in run.within_ceiling)
    going = [epoch_of(e) for e in run.scored_within_ceiling if run.unfinished(e)]
    left = [f"{untrained} untrained"] if untrained else []
    if going:
        left += [f"{len(going)} trained to epoch {max(going)} of {max(run.rungs)} at most"]
    left += [f"{len(run.waiting)} without the final check"] if run.waiting else []
    failed = any(e.state == "failed" for e in run.evaluations)
    if not left and (run.measured or failed):
        return []
    of = f"of those that fit, {', '.join(left)}" if left else "nothing is measured yet"
    gain = "" if run.waiting else "; the gain of more is unknown"
    then = f", then {run.again_here()}" if run.device is not None else ""
    option, changed = _limit(run)
    command, value = run.commands.resume(**changed), next(iter(changed.values()), "")
    return [Relaxation(option, str(value), f"{of}{gain}{then}", command)]


def _limit(run: InfeasibleRun) -> tuple[str, dict[str, Any]]:
    """The option to continue with, and the limit that it changes, if any."""
    limits = run.commands.last
    if run.interrupted and (limits.budget_s is None or run.spent_s < 0.9 * limits.budget_s):
        return "--resume", {}
    if limits.budget is None and limits.trials is not None:
        return "--trials", {"trials": 2 * limits.trials}
    return "--budget", {"budget": duration_text(60 * math.ceil(_useful_s(run) / 60))}


def _useful_s(run: InfeasibleRun) -> float:
    """A budget in all: at least twice the time spent, and enough to train the best to the end."""
    doubled = 2 * max(run.commands.last.budget_s or 0.0, run.spent_s)
    best = next((e for e in run.scored_within_ceiling if run.unfinished(e)), None)
    if run.waiting or best is None or (score := best.score("val", source="torch")) is None:
        return doubled
    epoch_s = score.train_s / max(1, score.epoch)
    # Others compete with it for the workers, and the decay and the final check follow.
    return max(doubled, run.spent_s + 2 * epoch_s * (max(run.rungs) - score.epoch))


def _within_reach(run: InfeasibleRun) -> bool:
    """Whether other knobs could make the fastest network fast enough."""
    fastest_ms = min(map(run.latency_ms, run.measured), default=0.0)
    return fastest_ms <= MAX_TIMES_FASTER * run.constraints.max_latency_ms


def _more_knobs(run: InfeasibleRun) -> list[Relaxation]:
    """A run of the next effort that opens more knobs of its space, if there is one."""
    begun = run.commands.begun
    higher = EFFORTS[EFFORTS.index(begun.effort) + 1 :]
    opened = {effort: _open_knobs(begun, effort) for effort in (begun.effort, *higher)}
    wider = next((each for each in higher if opened[each] > opened[begun.effort]), None)
    if wider is None:
        return []
    new = ", ".join(sorted(opened[wider] - opened[begun.effort]))
    gives = f"turns {new} as well: networks that this run has not measured"
    if run.device is not None:
        gives += f"; then {run.again_here(run.commands.free_name())}"
    return [Relaxation("--effort", wider, gives, run.commands.anew(effort=wider))]


def _open_knobs(declaration: Declaration, effort: str) -> set[str]:
    """The knobs that have a choice; none where the space cannot be read from here."""
    try:
        knobs = load_space(declaration.space).knobs_at(effort)
    except AutosegError:
        return set()
    return {knob.name for knob in knobs if len(knob.choices) > 1}


def _safe_ceiling_ms(evaluation: Evaluation, statistic: Statistic) -> float:
    """A ceiling that it would meet, of two digits; a short measurement gets a margin of 10 %."""
    measurement = evaluation.measurement
    if measurement is None:
        return math.inf
    high = max(latency_ci_ms(measurement, statistic)[1], measurement.p50_ci_ms[1])
    if measurement.phase == "screen":
        high = max(high, 1.1 * measurement.latency_ms(statistic))
    step = 10.0 ** (math.floor(math.log10(high)) - 1)
    return float(f"{math.ceil(high / step - 1e-9) * step:.6g}")


def _safe_floor(evaluation: Evaluation) -> float:
    """A floor that it would meet, of three digits; 0 where there is none."""
    score = evaluation.score("val")
    return math.floor(1000 * score.iou_ci95[0] + 1e-9) / 1000 if score else 0.0


def describe(evaluation: Evaluation, statistic: Statistic) -> str:
    """One model in words: key, knobs, figures with their 95 % intervals, and status."""
    name = f"{evaluation.candidate.key} ({evaluation.candidate})"
    return f"{name}: {figures_text(evaluation, statistic)}; {status_text(evaluation)}"


def figures_text(evaluation: Evaluation, statistic: Statistic) -> str:
    """Latency and IoU with their 95 % intervals, as far as they are known."""
    parts = []
    if measurement := evaluation.measurement:
        low, high = latency_ci_ms(measurement, statistic)
        at = measurement.latency_ms(statistic)
        parts.append(f"{measurement.name(statistic)} {at:.3g} ms ({low:.3g} to {high:.3g})")
    if score := evaluation.score("val"):
        low, high = score.iou_ci95
        parts.append(f"IoU {score.iou:.4f} ({low:.4f} to {high:.4f})")
    return ", ".join(parts) or "not measured"


def status_text(evaluation: Evaluation) -> str:
    """How far a candidate is trained or checked, and so what its IoU is of."""
    if evaluation.promised:
        return f"{STATE_LABELS[evaluation.state]}: its IoU is of the exported file"
    if evaluation.iou is None:
        return "untrained" if evaluation.state != "failed" else STATE_LABELS["failed"]
    score = evaluation.score("val")
    after = " and decayed" if score and score.decayed else ""
    stopped = ", then stopped" if evaluation.state == "stopped" else ""
    return f"trained to epoch {epoch_of(evaluation)}{after}{stopped}, not confirmed"


def iou_of(evaluation: Evaluation) -> float:
    return evaluation.iou or 0.0
