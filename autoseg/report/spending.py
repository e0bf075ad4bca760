"""How a run's budget was spent: the states of its candidates over time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.core.records import Evaluation, State
from autoseg.run.ledger import Event

# From the bottom of the plot to its top.
STACKED_STATES: tuple[State, ...] = (
    "confirmed", "rejected", "scored", "stopped", "measured", "too_slow", "failed",
)  # fmt: skip


@dataclass(frozen=True)
class Spending:
    """Candidates in each state over time, as `(seconds, counts in the order of STACKED_STATES)`.

    `phases` are the parts of the run by name with the second at which each ended; `training_s`
    are worker seconds by the state in which the trained candidates ended.
    """

    counts: tuple[tuple[float, tuple[int, ...]], ...]
    phases: tuple[tuple[str, float], ...]
    training_s: Mapping[State, float]


def spending(events: Sequence[Event], evaluations: Sequence[Evaluation]) -> Spending:
    """The spending up to the last of the events of one device."""
    states: dict[str, State] = {}
    now: dict[State, int] = dict.fromkeys(STACKED_STATES, 0)
    counts: list[tuple[float, tuple[int, ...]]] = []
    for event in events:
        state = _state_after(event)
        if state is None:
            continue
        if before := states.get(event["key"]):
            now[before] -= 1
        states[event["key"]] = state
        now[state] += 1
        counts.append((event["spent_s"], tuple(now.values())))
    return Spending(tuple(counts), _phases(events), _training_s(evaluations))


def _state_after(event: Event) -> State | None:
    if event["event"] == "measured":
        return "too_slow" if event["too_slow"] else "measured"
    name = "scored" if event["event"] == "reopened" else event["event"]
    return next((state for state in STACKED_STATES if state == name), None)


def _phases(events: Sequence[Event]) -> tuple[tuple[str, float], ...]:
    """Until the verdict, searching, finishing; in a resumed run the last of each counts."""
    ends = {"first verdict": "verdict", "searching": "searched", "finishing": "finished"}
    last: dict[str, float] = {}
    for event in events:
        # An event after the end of a phase shows that the run was resumed.
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
    """Whether the event belongs to a search; finishing scores decayed models only."""
    if event["event"] == "scored":
        return not event["score"]["decayed"]
    return event["event"] in ("proposed", "measured", "reopened")


def _training_s(evaluations: Sequence[Evaluation]) -> dict[State, float]:
    """Training without a score afterwards is not counted."""
    spent: defaultdict[State, float] = defaultdict(float)
    for evaluation in evaluations:
        spent[evaluation.state] += max((s.train_s for s in evaluation.scores), default=0.0)
    return {state: spent[state] for state in STACKED_STATES if spent[state]}
