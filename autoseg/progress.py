"""What a run looks like while it runs, on stderr: a live panel, or one line an event in a log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from autoseg.declaration import Declaration
from autoseg.front import front_of
from autoseg.ledger import Event
from autoseg.records import Constraints, Evaluation, clock
from autoseg.store import Run

RECENT = 8
LOG_EVERY_S = 60.0  # a log gets the outlook so often at most
BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 40


class Progress:
    """Listens to a run's events and shows them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._recent: list[str] = []
        self._now: dict[str, str] = {}
        self._run: Run | None = None
        self._declaration: Declaration | None = None
        self._looks: list[Event] = []
        self._logged_at_s = -LOG_EVERY_S

    def start(self, run: Run, declaration: Declaration) -> None:
        """Begin to listen."""
        self._run, self._declaration = run, declaration
        run.listeners.append(self._hear)
        how = f"{declaration.workers} worker(s), seed {declaration.seed}"
        if run.on is not None:
            how = f"measured on {run.on} up to {declaration.max_latency}, nothing is trained"
        self._say(f"run {run.folder}: {declaration.effort} effort, {how}")
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=self._panel,
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def _hear(self, event: Event) -> None:
        if event["event"] == "doing":
            self._now[event["candidate"]] = event["what"]
            return
        if event["event"] in ("saying", "interrupted", "searched"):
            self._now.clear()  # what was in hand is cancelled, or ends here
        if event["event"] == "saying":
            self._say(event["what"])
            return
        if event["event"] == "outlook":
            self._look(event)
            return
        self._now.pop(event.get("key", ""), None)
        for line in self._describe(event):
            self._say(line)

    def _look(self, event: Event) -> None:
        self._looks.append(event)
        if self._live is None and event["spent_s"] >= self._logged_at_s + LOG_EVERY_S:
            self._logged_at_s = event["spent_s"]
            self._say(outlook_line(event))

    def _say(self, line: str) -> None:
        if self._live:
            self._recent = [*self._recent, line][-RECENT:]
        else:
            stamp = f"[{clock(self._run.spent_s)}] " if self._run else ""
            self.console.print(stamp + line, highlight=False, markup=False, soft_wrap=True)

    def _describe(self, event: Event) -> list[str]:
        if self._run is None or self._declaration is None:
            return []
        if event["event"] == "verdict":
            when = f"on {self._run.on}" if self._run.on else "before any training"
            return [f"verdict {when}:", *(f"  {line}" for line in event["lines"])]
        if event["event"] == "plan":
            return ["plan:", *(f"  {line}" for line in event["lines"])]
        if "key" not in event:
            return {"searched": ["search done; confirming the front"]}.get(event["event"], [])
        evaluation = self._run.evaluations[event["key"]]
        line = describe(event, evaluation, self._declaration.constraints)
        return [line] if line else []

    def _panel(self) -> Group:
        if self._run is None or self._declaration is None:
            return Group()
        evaluations = list(self._run.evaluations.values())
        constraints = self._declaration.constraints
        counts = {state: sum(e.state == state for e in evaluations) for state in (
            "too_slow", "stopped", "scored", "confirmed", "struck", "failed")}  # fmt: skip
        budget_s = self._declaration.budget_s
        left = f", {clock(max(0.0, budget_s - self._run.spent_s))} left" if budget_s else ""
        head = Text(
            f"{clock(self._run.spent_s)} spent{left} · {len(evaluations)} candidates: "
            + ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n)
        )
        return Group(
            head,
            *(Text(line) for line in self._ahead()),
            *(Text(f"now {what}") for what in list(self._now.values())),  # another thread's
            _best(evaluations, constraints, self._run.on),
            *(Text(line, style="dim") for line in self._recent),
        )

    def _ahead(self) -> list[str]:
        if not self._looks:
            return []
        seen = [event["hypervolume"] for event in self._looks]
        return [f"{outlook_line(self._looks[-1])}  {sparkline(seen)}".rstrip()]


def outlook_line(event: Event) -> str:
    """Where the search stands, and what going on is expected to add."""
    gain, most = f"{100 * event['gain_iou']:.1f}", points(event["gain_iou_at_most"], unit="")
    return (
        f"hypervolume {event['hypervolume']:.4f} after {clock(event['spent_s'])}; "
        f"the next {clock(event['horizon_s'])}: about +{gain} IoU points, under {most}"
    )


def points(iou: float, unit: str = " IoU points") -> str:
    """``0.0031 -> "0.4 IoU points"``: hundredths, rounded up to one decimal."""
    return f"{max(1, math.ceil(1000 * iou - 1e-9)) / 10:g}{unit}"


def sparkline(figures: Sequence[float]) -> str:
    """The course of figures over zero as a row of bars, each the last of its share of them."""
    shown = min(len(figures), BARS_SHOWN)
    ends = [len(figures) * (place + 1) // shown - 1 for place in range(shown)]
    most = max(figures, default=0.0) or 1.0
    return "".join(BARS[round((len(BARS) - 1) * figures[end] / most)] for end in ends)


def _best(evaluations: list[Evaluation], constraints: Constraints, on: str | None) -> Table:
    where = f"on {on}" if on else "while training"
    table = Table(box=None, title_justify="left", title=f"front so far (val, {where})")
    for name in ("key", f"{constraints.statistic} ms", "IoU", "floor", "epoch", "state", "knobs"):
        table.add_column(name)
    trained = [e for e in evaluations if e.iou is not None and e.state != "stopped"]
    for e in front_of(trained, constraints.statistic)[-10:]:
        score = e.score("val")
        if e.measurement is None or score is None:
            continue
        meets = (
            "meets"
            if score.iou >= constraints.min_iou
            else f"-{constraints.min_iou - score.iou:.3f}"
        )
        latency_ms = e.measurement.latency_ms(constraints.statistic)
        table.add_row(
            e.candidate.key,
            f"{latency_ms:.3g}",
            f"{score.iou:.4f}",
            meets,
            str(score.epoch),
            e.state,
            str(e.candidate),
        )
    return table


def describe(event: Event, evaluation: Evaluation, constraints: Constraints) -> str | None:
    """One line that says what happened to a candidate, or None for what is not worth one."""
    key, kind = evaluation.candidate.key, event["event"]
    facts: dict[str, Any] = event
    if kind == "measured" and evaluation.measurement:
        latency_ms = evaluation.measurement.latency_ms(constraints.statistic)
        slow = f", over {constraints.max_latency_ms:g} ms" if facts["too_slow"] else ""
        if slow and "on" not in facts:
            slow += ": not trained"
        return f"{key} {evaluation.candidate}: {constraints.statistic} {latency_ms:.3g} ms{slow}"
    if kind == "scored":
        score = facts["score"]
        decay = ", decayed" if score["decayed"] else ""
        after = f"after {score['epoch']} epochs{decay} ({score['train_s']:.0f} s)"
        return f"{key} IoU {score['iou']:.4f} on val {after}"
    if kind in ("confirmed", "struck") and evaluation.measurement:
        latency_ms = evaluation.measurement.latency_ms(constraints.statistic)
        why = f": {facts['reason']}" if facts.get("reason") else ""
        figures = f"{constraints.statistic} {latency_ms:.3g} ms, IoU {evaluation.iou:.4f}"
        return f"{key} {kind}: {figures} (P {facts['p_feasible']:.2f}){why}"
    if kind in ("stopped", "failed"):
        return f"{key} {kind}: {facts['reason']}"
    return None
