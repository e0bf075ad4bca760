"""What a run found, read from its folder: the front, the picks, the misses, the files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.declaration import Declaration
from autoseg.front import PICKS, How, meets, pick, point, reason
from autoseg.front import front as nondominated
from autoseg.ledger import Event, as_seen_on, fold, read_events, spent_s
from autoseg.misses import Explanation, explain
from autoseg.records import Candidate, Constraints, Evaluation, InputError, from_json, to_json
from autoseg.seams import Outlook
from autoseg.store import place_of, read_declaration

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Result:
    """A run's outcome on one device. Everything in it comes from the run's folder.

    `device` is None for the device that the run was begun on. `verdict` and `plan` are what was
    said before anything was trained; `curve` is the hypervolume that finishing would have given,
    as pairs with the seconds spent until then, and `outlook` what was said last of going on.
    """

    folder: Path
    declaration: Declaration
    evaluations: tuple[Evaluation, ...]
    baseline: Evaluation | None
    verdict: tuple[str, ...]
    spent_s: float
    device: str | None = None
    plan: tuple[str, ...] = ()
    outlook: Outlook | None = None
    curve: tuple[tuple[float, float], ...] = ()

    @classmethod
    def from_run(cls, folder: str | Path, device: str | None = None) -> Result:
        """Read a run, live or finished, as the device sees it that it was begun on, or another one
        that it was measured on.

        Raises InputError when the folder holds none, and for a device that it was not measured on.
        """
        folder = Path(folder)
        raw = read_declaration(folder)
        everything = read_events(folder)
        on = _view(folder, raw, everything, device)
        events = as_seen_on(on, everything)
        looks = [(e["spent_s"], _outlook(e)) for e in events if e["event"] == "outlook"]
        evaluations = fold(everything, on)
        return cls(
            folder, declaration_on(on, raw, everything), tuple(evaluations.values()),
            evaluations.get(from_json(Candidate, raw["baseline"]).key),
            _lines("verdict", events), spent_s(everything, on), on, _lines("plan", events),
            looks[-1][1] if looks else None, tuple((s, o.hypervolume) for s, o in looks),
        )  # fmt: skip

    @property
    def files(self) -> Path:
        """The folder of the front's files and bundles."""
        return place_of(self.folder, self.device)

    @property
    def constraints(self) -> Constraints:
        return self.declaration.constraints

    @property
    def front(self) -> list[Evaluation]:
        """Confirmed models that no other confirmed one beats in latency and IoU, fastest first."""
        confirmed = [e for e in self.evaluations if e.state == "confirmed"]
        points = [p for e in confirmed if (p := point(e, self.constraints.statistic))]
        return [confirmed[i] for i in nondominated(points)]

    def pick(self, how: How = "balanced") -> Evaluation | None:
        """The fastest, the most accurate or the balanced model of the front, if any."""
        return pick(self.front, how, self.constraints)

    def picks(self) -> dict[How, Evaluation | None]:
        """The three picks by their names; None where nothing is on the front."""
        return {how: self.pick(how) for how in PICKS}

    def reason(self, how: How) -> str:
        """Why that pick is it, in words with its figures; empty without a front."""
        chosen = self.pick(how)
        return reason(how, chosen, self.constraints) if chosen else ""

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        asked = f"{self.constraints.max_latency_ms:g} ms and IoU {self.constraints.min_iou:g}"
        return f"{len(self.front)} models meet {asked}"

    def explanation(self) -> Explanation | None:
        """When nothing is confirmed: what binds, what was nearest, and what relaxing would give."""
        return None if self.front else explain(self.evaluations)

    def bundle(self, key: str) -> Path:
        """The folder to ship of a front model. Raises InputError for a key that has none."""
        found = sorted((self.files / "bundles").glob(f"*-{key}"))
        if not found:
            keys = ", ".join(e.candidate.key for e in self.front) or "none"
            raise InputError(
                f"the run {self.folder.name!r} has no bundle {key!r}; on its front: {keys}"
            )
        return found[0]

    def to_pandas(self) -> pandas.DataFrame:
        """All evaluations as a table, the front first."""
        from autoseg.report.tables import to_pandas

        return to_pandas(self.evaluations, self.baseline, statistic=self.constraints.statistic)

    def misses(self) -> list[str]:
        """When nothing is confirmed: what was nearest, and what to relax by how much."""
        ceiling, floor = self.constraints.max_latency_ms, self.constraints.min_iou
        measured = [e for e in self.evaluations if e.measurement]
        if self.front or not measured:
            return [] if self.front else ["no candidate could be measured"]
        # On another device, what is too slow there may have been trained all the same.
        scored = [
            e for e in measured if e.iou is not None and e.state not in ("failed", "too_slow")
        ]
        if not scored and any(e.state != "too_slow" for e in measured):
            return self._untrained(measured)
        if not scored:
            fastest = min(measured, key=lambda e: _latency(e, self.constraints))
            at = _latency(fastest, self.constraints)
            effort = "a higher --effort" if self.device is None else "a run of a higher --effort"
            return [
                f"nothing meets {ceiling:g} ms: the nearest of {len(measured)} measured needs "
                f"{at:.3g} ms ({self.constraints.statistic}; {_named(fastest)})",
                f"to let it in: --max-latency {_roomy_ms(at)}, a faster device, {effort}",
            ]
        best = max(scored, key=lambda e: e.iou or 0.0)
        lines = [
            f"nearest under {ceiling:g} ms: IoU {best.iou:.4f} of the {floor:g} asked for, at "
            f"{_latency(best, self.constraints):.3g} ms ({_named(best)})"
        ]
        near = [e.state for e in scored if meets(e, self.constraints)]
        if waiting := near.count("scored"):
            lines.append(f"{waiting} meet both figures and are not confirmed yet")
        if unsure := near.count("struck"):
            lines.append(
                f"{unsure} met both figures without being sure enough (P >= 0.9): "
                f"{self._more('a longer --budget')}, or more pictures in val"
            )
        return [*lines, f"to let it in: {', '.join(self._ways_in(best))}"]

    def _untrained(self, measured: Sequence[Evaluation]) -> list[str]:
        fitting = [e for e in measured if e.state != "too_slow"]
        failed = [e for e in fitting if e.state == "failed"]
        says = f"{len(fitting)} of {len(measured)} measured fit, and none was trained to a score"
        if not failed:
            return [says, f"to let one in: {self._more('a longer --budget')}"]
        return [f"{says}: {len(failed)} failed", f"the first failure: {failed[0].error}"]

    def _more(self, *ways: str) -> str:
        """Ways that take training; what was measured elsewhere is trained in its own run first."""
        if self.device is None:
            return ", ".join(ways)
        return (
            f"more training (autoseg optimize --resume --name {self.folder.name} --budget TIME), "
            "then this again"
        )

    def _ways_in(self, best: Evaluation) -> list[str]:
        score, at = best.score("val"), _latency(best, self.constraints)
        ways = [self._more("a longer --budget", "a higher --effort")]
        if at > 0.98 * self.constraints.max_latency_ms:
            ways.insert(0, f"--max-latency {_roomy_ms(at)}")
        # The low end of the interval, not the figure itself: it must hold with P >= 0.9.
        floor = math.floor(100 * score.iou_ci95[0]) / 100 if score else math.inf
        if self.device is None and floor < self.constraints.min_iou:
            ways.insert(0, f"--min-iou {max(0.01, floor):.2f}")
        return ways

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data, what `--json` prints: front.json, and where the run stands."""
        from autoseg.report.tables import front_json

        shown = front_json(self.front, self.constraints, self.baseline)
        about = {"run": str(self.folder), "device": self.device, "spent_s": self.spent_s}
        said = {"verdict": [*self.verdict], "plan": [*self.plan], "misses": self.misses()}
        outlook = to_json(self.outlook) if self.outlook else None
        return {**about, **said, "outlook": outlook, **shown}


def _lines(kind: str, events: Sequence[Event]) -> tuple[str, ...]:
    """What was said last of a kind."""
    return next((tuple(e["lines"]) for e in reversed(events) if e["event"] == kind), ())


def _outlook(event: Event) -> Outlook:
    return Outlook(**{f.name: event[f.name] for f in fields(Outlook)})


def declaration_on(on: str | None, raw: Mapping[str, Any], events: Sequence[Event]) -> Declaration:
    """What is asked of a device: another one than the run's own may have its own ceiling."""
    declaration = Declaration.of({}, raw)
    asked = next((e for e in as_seen_on(on, events) if e["event"] == "asked"), None)
    if on is None or asked is None:
        return declaration
    return replace(
        declaration, device=on, max_latency=asked["max_latency"], budget=None, trials=None
    )


def _view(
    folder: Path, raw: Mapping[str, Any], events: Sequence[Event], device: str | None
) -> str | None:
    own = raw.get("measured_on", {}).get("name")
    others = sorted({e["on"] for e in events if "on" in e})
    if device is None or device == own:
        return None
    if device not in others:
        raise InputError(
            f"the run {folder.name!r} was not measured on {device!r}; "
            f"there is: {', '.join([str(own), *others])}. "
            f"To measure it there: autoseg remeasure {folder.name} --device {device}"
        )
    return device


def _latency(evaluation: Evaluation, constraints: Constraints) -> float:
    measurement = evaluation.measurement
    return measurement.latency_ms(constraints.statistic) if measurement else math.inf


def _named(evaluation: Evaluation) -> str:
    return f"{evaluation.candidate.key}: {evaluation.candidate}"


def _roomy_ms(latency_ms: float) -> str:
    wanted = 1.1 * latency_ms
    return f"{wanted:.0f}ms" if wanted >= 100 else f"{wanted:.2g}ms"


def runs_in(results: Path) -> Sequence[Path]:
    """The runs of a results folder, oldest first."""
    return sorted(
        (p.parent for p in results.glob("*/run.yaml")),
        key=lambda f: (f / "run.yaml").stat().st_mtime,
    )
