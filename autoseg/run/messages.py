"""The progress of a run in words, for the panel and the log; events for the user's program.

The logger `autoseg.progress` gets one INFO line per event; `on_event` gets the events.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from autoseg.core.records import Constraints, Evaluation
from autoseg.core.text import without_control
from autoseg.core.units import clock
from autoseg.run.declaration import Declaration
from autoseg.run.ledger import Event
from autoseg.run.store import Run

LOG_EVERY_S = 60.0  # at least, between two outlooks in a log
STOP = "stop"  # returned by an `on_event` to end the search

log = logging.getLogger("autoseg.progress")

OnEvent = Callable[[Mapping[str, Any]], object]


def follow(run: Run, declaration: Declaration) -> None:
    """Write a run's progress to the log, from its start."""
    if log.isEnabledFor(logging.INFO):
        lines = ProgressLines(run, declaration, lambda line: log.info("%s", line))
        lines.start()
        run.listeners.append(lines.handle)


def call_on_event(run: Run, on_event: OnEvent, stop: Callable[[], None]) -> None:
    """Call `on_event` with each event of a run's ledger, from the next one on.

    An exception of `on_event` is logged, and the run goes on; `stop` is called when it returns
    ``"stop"``.
    """
    failed = False

    def call(event: Event) -> None:
        nonlocal failed
        if event["event"] in ("activity", "notice"):  # not in the ledger
            return
        evaluation = run.evaluations.get(event.get("key", ""))
        try:
            answer = on_event({**event, "evaluation": evaluation})
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
            log.warning(
                "on_event failed at %r (%s); the run goes on", event["event"], fault,
                exc_info=not failed,
            )  # fmt: skip
            failed = True
            return
        if isinstance(answer, str) and answer == STOP:
            stop()

    run.listeners.append(call)


class ProgressLines:
    """Describes the events of a run in lines, and passes each line to `write`."""

    def __init__(self, run: Run, declaration: Declaration, write: Callable[[str], None]) -> None:
        self._run, self._declaration, self._to = run, declaration, write
        self._outlook_at_s = -LOG_EVERY_S

    def start(self) -> None:
        """Write how the run begins."""
        run, declaration = self._run, self._declaration
        how = f"seed {declaration.seed}"
        if run.on is not None:
            how = f"measured on {run.on} up to {declaration.max_latency}, nothing is trained"
        self._write(f"run {run.folder}: {declaration.effort} effort, {how}")

    def handle(self, event: Event) -> None:
        """Write the lines of an event, if any; an outlook once a minute at most."""
        if event["event"] == "outlook":
            if event["spent_s"] < self._outlook_at_s + LOG_EVERY_S:
                return
            self._outlook_at_s = event["spent_s"]
        for line in self._lines(event):
            self._write(line)

    def _write(self, line: str) -> None:
        self._to(without_control(line))

    def _lines(self, event: Event) -> list[str]:
        kind = event["event"]
        if kind == "outlook":
            return [outlook_line(event)]
        if kind in ("notice", "pool"):
            return [event["text"]]
        if kind == "verdict":
            trained = any(e.scores for e in self._run.evaluations.values())
            when = "after the survey" if trained else "before any training"
            when = f"on {self._run.on}" if self._run.on else when
            return [f"verdict {when}:", *(f"  {line}" for line in event["lines"])]
        if kind == "plan":
            return ["plan:", *(f"  {line}" for line in event["lines"])]
        if kind == "searched":
            return ["search done; confirming the front"]
        if "key" not in event:
            return []
        evaluation = self._run.evaluations[event["key"]]
        line = event_line(event, evaluation, self._declaration.constraints)
        return [line] if line else []


def outlook_line(event: Event) -> str:
    """The hypervolume so far, and the expected gain of continuing the search."""
    gain, most = f"{100 * event['gain_iou']:.1f}", points(event["gain_iou_at_most"], unit="")
    return (
        f"hypervolume {event['hypervolume']:.4f} after {clock(event['spent_s'])}; "
        f"the next {clock(event['horizon_s'])}: about +{gain} IoU points, under {most}"
    )


def points(iou: float, unit: str = " IoU points") -> str:
    """``0.0031 -> "0.4 IoU points"``: hundredths, rounded up to one decimal."""
    return f"{max(1, math.ceil(1000 * iou - 1e-9)) / 10:g}{unit}"


def event_line(event: Event, evaluation: Evaluation, constraints: Constraints) -> str | None:
    """One line for an event of a candidate, or None."""
    key, kind = evaluation.candidate.key, event["event"]
    needs = ""
    if timed := evaluation.measurement:
        statistic = constraints.statistic
        needs = f"{timed.name(statistic)} {timed.latency_ms(statistic):.3g} ms"
    if kind == "measured" and timed:
        slow = f", over {constraints.max_latency_ms:g} ms" if event["too_slow"] else ""
        if slow and "on" not in event:
            slow += ": not trained"
        return f"{key} {evaluation.candidate}: {needs}{slow}"
    if kind == "scored":
        score = event["score"]
        decay = ", decayed" if score["decayed"] else ""
        after = f"after {score['epoch']} epochs{decay} ({score['train_s']:.0f} s)"
        return f"{key} IoU {score['iou']:.4f} on val {after}"
    if kind in ("confirmed", "rejected") and timed:
        figures = f"{needs}, IoU {evaluation.iou:.4f} (P {event['p_feasible']:.2f})"
        why = f" in the final check: {event['reason']}; {figures}" if kind == "rejected" else ""
        return f"{key} {kind}{why or f': {figures}'}"
    if kind in ("stopped", "failed"):
        return f"{key} {kind}: {event['reason']}"
    return None
