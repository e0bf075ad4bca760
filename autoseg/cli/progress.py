"""The progress of a run on stderr: a live panel, or one line per event in a log."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from autoseg.core.pareto import front_of
from autoseg.core.records import Constraints, Evaluation
from autoseg.core.text import without_control
from autoseg.core.units import clock
from autoseg.report.plot_data import latency_text
from autoseg.run.declaration import Declaration
from autoseg.run.ledger import Event
from autoseg.run.messages import ProgressLines, outlook_line
from autoseg.run.rows import latency
from autoseg.run.store import Run

RECENT = 8
BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 40


class Progress:
    """Listens to a run's events and shows them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None
        self._recent: list[str] = []
        self._now: dict[str, str] = {}
        self._outlooks: list[Event] = []

    def start(self, run: Run, declaration: Declaration) -> None:
        """Begin to listen."""
        lines = ProgressLines(run, declaration, lambda line: self._print(run, line))
        run.listeners.append(lambda event: self._handle(event, lines))
        lines.start()
        if self.console.is_terminal:
            self._live = Live(
                console=self.console,
                get_renderable=lambda: self._panel(run, declaration),
                refresh_per_second=2,
                transient=True,
            )
            self._live.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live:
            self._live.stop()

    def _handle(self, event: Event, lines: ProgressLines) -> None:
        if event["event"] == "activity":
            self._now[event["candidate"]] = event["text"]
            return
        if event["event"] in ("notice", "interrupted", "searched"):
            self._now.clear()  # current activities are cancelled or end here
        if event["event"] == "outlook":
            self._outlooks.append(event)
            if self._live:  # the panel has its own line for it
                return
        self._now.pop(event.get("key", ""), None)
        lines.handle(event)

    def _print(self, run: Run, line: str) -> None:
        if self._live:
            self._recent = [*self._recent, line][-RECENT:]
        else:
            stamped = f"[{clock(run.spent_s)}] {line}"
            self.console.print(stamped, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def _panel(self, run: Run, declaration: Declaration) -> Group:
        evaluations = list(run.evaluations.values())
        constraints = declaration.constraints
        counts = {state: sum(e.state == state for e in evaluations) for state in (
            "too_slow", "stopped", "scored", "confirmed", "rejected", "failed")}  # fmt: skip
        budget_s = declaration.budget_s
        left = f", {clock(max(0.0, budget_s - run.spent_s))} left" if budget_s else ""
        head = Text(
            f"{clock(run.spent_s)} spent{left} · {len(evaluations)} candidates: "
            + ", ".join(f"{n} {s.replace('_', ' ')}" for s, n in counts.items() if n)
        )
        now = list(self._now.values())  # another thread changes it
        return Group(
            head,
            *(Text(line) for line in self._outlook()),
            *(Text(without_control(f"now {activity}")) for activity in now),
            _best(evaluations, constraints, run.on),
            *(Text(line, style="dim") for line in self._recent),
        )

    def _outlook(self) -> list[str]:
        if not self._outlooks:
            return []
        history = [event["hypervolume"] for event in self._outlooks]
        return [f"{outlook_line(self._outlooks[-1])}  {sparkline(history)}".rstrip()]


def sparkline(figures: Sequence[float]) -> str:
    """Figures over zero as a row of bars; a bar shows the last figure of its share."""
    bars = min(len(figures), BARS_SHOWN)
    ends = [len(figures) * (place + 1) // bars - 1 for place in range(bars)]
    highest = max(figures, default=0.0) or 1.0
    return "".join(BARS[round((len(BARS) - 1) * figures[end] / highest)] for end in ends)


def _best(evaluations: list[Evaluation], constraints: Constraints, on: str | None) -> Table:
    where = f"on {on}" if on else "while training"
    title = Text(without_control(f"front so far (val, {where})"))
    table = Table(box=None, title_justify="left", title=title)
    for name in ("key", f"{constraints.promised} ms", "IoU", "floor", "epoch", "state", "knobs"):
        table.add_column(name)
    trained = [e for e in evaluations if e.iou is not None and e.state != "stopped"]
    for e in front_of(trained, constraints.statistic)[-10:]:
        score = e.score("val")
        if e.measurement is None or score is None:
            continue
        short = constraints.min_iou - score.iou
        table.add_row(
            e.candidate.key,
            latency_text(latency(e.measurement, constraints.statistic), constraints.statistic),
            f"{score.iou:.4f}",
            f"-{short:.3f}" if short > 0 else "meets",
            str(score.epoch),
            e.state,
            Text(without_control(str(e.candidate))),
        )
    return table
