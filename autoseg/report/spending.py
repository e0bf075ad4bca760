"""How a run's budget was spent: what became of its candidates, second by second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.core.records import Evaluation
from autoseg.run.events import Event

# From the bottom of the picture to its top.
FATES = {
    "confirmed": "confirmed",
    "rejected": "rejected",
    "scored": "trained",
    "stopped": "stopped",
    "measured": "not trained",
    "too_slow": "too slow",
    "failed": "failed",
}
_BECOMES = {**{fate: fate for fate in FATES}, "reopened": "scored"}


@dataclass(frozen=True)
class Spending:
    """Candidates in each state over time, as `(seconds, counts in the order of FATES)`.

    `phases` are the parts of the run in words with the second at which each ended; `training_s`
    are worker seconds by what became of those who took them.
    """

    course: tuple[tuple[float, tuple[int, ...]], ...]
    phases: tuple[tuple[str, float], ...]
    training_s: Mapping[str, float]


def spending(events: Sequence[Event], evaluations: Sequence[Evaluation]) -> Spending:
    """What the events of one device say; a live run's as far as it has come."""
    states: dict[str, str] = {}
    counts = dict.fromkeys(FATES, 0)
    course: list[tuple[float, tuple[int, ...]]] = []
    for event in events:
        fate = _fate(event)
        if fate is None:
            continue
        if before := states.get(event["key"]):
            counts[before] -= 1
        states[event["key"]] = fate
        counts[fate] += 1
        course.append((event["spent_s"], tuple(counts.values())))
    return Spending(tuple(course), _phases(events), _training_s(evaluations))


def _fate(event: Event) -> str | None:
    if event["event"] == "measured":
        return "too_slow" if event["too_slow"] else "measured"
    return _BECOMES.get(event["event"])


def _phases(events: Sequence[Event]) -> tuple[tuple[str, float], ...]:
    """Looking around until the verdict, searching, finishing; as a continued run has them now."""
    ends = {"looking around": "verdict", "searching": "searched", "finishing": "finished"}
    last: dict[str, float] = {}
    for event in events:
        # Whatever follows them, they were not the end.
        last.pop("finished", None)
        if _searches(event):
            last.pop("searched", None)
        if "spent_s" in event:
            last[event["event"]] = event["spent_s"]
    phases = [(name, last[kind]) for name, kind in ends.items() if kind in last]
    now = max((e.get("spent_s", 0.0) for e in events), default=0.0)
    if "finished" not in last and now > (phases[-1][1] if phases else 0.0):
        phases.append(("finishing" if "searched" in last else "searching", now))
    return tuple(phases)


def _searches(event: Event) -> bool:
    """Whether only a search does that; the finish decays what is confirmed, and scores it."""
    if event["event"] == "scored":
        return not event["score"]["decayed"]
    return event["event"] in ("proposed", "measured", "reopened")


def _training_s(evaluations: Sequence[Evaluation]) -> dict[str, float]:
    """What was trained and never scored is in none of them."""
    spent: dict[str, float] = {}
    for evaluation in evaluations:
        took = max((s.train_s for s in evaluation.scores), default=0.0)
        if took:
            spent[evaluation.state] = spent.get(evaluation.state, 0.0) + took
    return {state: spent[state] for state in FATES if state in spent}
