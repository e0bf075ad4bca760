"""The result of a run, read from its folder: front, picks, misses, files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoseg.core.errors import InputError
from autoseg.core.pareto import PICKS, How, front_of, meets, pick, point, reason
from autoseg.core.records import SCHEMA, Candidate, Constraints, DeviceInfo, Evaluation
from autoseg.core.serialize import from_json, to_json
from autoseg.core.units import HW, duration_text
from autoseg.run.commands import Commands
from autoseg.run.declaration import Declaration, constraints_of
from autoseg.run.infeasible import Explanation, explain
from autoseg.run.ledger import Event, as_seen_on, as_shown, fold, read_events, spent_s
from autoseg.run.relaxations import InfeasibleRun
from autoseg.run.store import is_running, place_of, read_declaration
from autoseg.search.protocol import Outlook

if TYPE_CHECKING:
    import pandas

Status = Literal["running", "interrupted", "finished"]


@dataclass(frozen=True)
class Result:
    """The result of a run on one device, from the run's folder alone.

    `device` is None for the device that the run was begun on. `verdict` and `plan` are the lines
    written before any training; `curve` holds pairs of seconds spent and the hypervolume that
    finishing then would have given; `outlook` is the last expected gain of continuing.
    `measured_on` is the device's description of itself, `rungs` are the epochs at which candidates
    are scored. `searched` is False while the search is live, and after an interruption. `frame_hw`
    is the size of the frames that are timed. `status` is that of the run when it was read:
    "running" while a process works on it, else "interrupted" until it has finished. `given` are
    the commands that continue or change the run.
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
    measured_on: DeviceInfo | None = None
    rungs: tuple[int, ...] = ()
    searched: bool = False
    frame_hw: HW | None = None
    status: Status = "finished"
    given: Commands | None = None

    @classmethod
    def from_run(cls, folder: str | Path, device: str | None = None) -> Result:
        """Read a run, live or finished, in the view of its own device, or of a remeasured one.

        Raises InputError for a folder without a run, and for a device it was not measured on.
        """
        folder = Path(folder)
        raw = read_declaration(folder)
        everything = read_events(folder)
        on = _view(folder, raw, everything, device)
        events = as_seen_on(on, everything)
        request = next((e for e in events if e["event"] == "remeasure_requested"), None)
        described = request.get("device") if request else raw.get("measured_on")
        looks = [(e["spent_s"], _outlook(e)) for e in events if e["event"] == "outlook"]
        evaluations, declaration = fold(as_shown(everything), on), declaration_for(raw, request)
        return cls(
            folder, declaration, tuple(evaluations.values()),
            evaluations.get(from_json(Candidate, raw["baseline"]).key),
            _lines("verdict", events), spent_s(everything, on), on, _lines("plan", events),
            looks[-1][1] if looks else None, tuple((s, o.hypervolume) for s, o in looks),
            from_json(DeviceInfo, described) if described else None,
            tuple(raw.get("training", {}).get("rungs", ())), _searched(events, on),
            constraints_of(declaration, raw).frame_hw,
            _status(folder, events, on), Commands.of(folder, raw, **_last_limits(everything)),
        )  # fmt: skip

    @property
    def files(self) -> Path:
        """The folder of the front's files and bundles."""
        return place_of(self.folder, self.device)

    @property
    def constraints(self) -> Constraints:
        return replace(self.declaration.constraints, frame_hw=self.frame_hw)

    @property
    def front(self) -> list[Evaluation]:
        """Confirmed models that no other confirmed one dominates, fastest first."""
        confirmed = [e for e in self.evaluations if e.state == "confirmed"]
        return front_of(confirmed, self.constraints.statistic)

    def pick(self, how: How = PICKS[0]) -> Evaluation | None:
        """The most accurate, the balanced or the fastest model of the front, if any."""
        return pick(self.front, how, self.constraints)

    def picks(self) -> dict[How, Evaluation | None]:
        """The three picks by their names; None where nothing is on the front."""
        return {how: self.pick(how) for how in PICKS}

    def reason(self, how: How) -> str:
        """The reason for that pick, in words with its figures; empty without a front."""
        return reason(how, self.front, self.constraints)

    @property
    def commands(self) -> Commands:
        return self.given or Commands(self.folder, self.declaration, self.declaration)

    @property
    def waiting(self) -> list[Evaluation]:
        """Trained candidates that meet both figures and may still be confirmed."""
        statistic = self.constraints.statistic
        reached = [at for e in self.front if (at := point(e, statistic))]

        def beaten(ms: float, iou: float) -> bool:
            return any(other <= ms and better >= iou for other, better in reached)

        scored = [e for e in self.evaluations if e.state == "scored"]
        met = [e for e in scored if meets(e, self.constraints)]
        return [e for e in met if (at := point(e, statistic)) and not beaten(*at)]

    @property
    def resume_command(self) -> str | None:
        """The command line that continues an interrupted run; None for another one."""
        if self.status != "interrupted":
            return None
        if self.device is not None:
            return self.commands.remeasure(self.device, self.declaration.max_latency)
        return self.commands.resume()

    @property
    def headline(self) -> str:
        """The status, unless finished, and the verdict in one sentence."""
        where = f" on {self.measured_on.name}" if self.measured_on else ""
        status = "" if self.status == "finished" else f"{self.status}: "
        return f"{status}{self._verdict_in_short(f'{self._limits}{where}')}"

    @property
    def _limits(self) -> str:
        return f"{self.constraints.ceiling} and IoU {self.constraints.min_iou:g}"

    def _verdict_in_short(self, both: str) -> str:
        models, waiting = self.front, len(self.waiting)
        check = "final check missing" if self.status == "finished" else "final check pending"
        if models:
            statistic = self.constraints.statistic
            fastest = min(m.latency_ms(statistic) for e in models if (m := e.measurement))
            which = "it" if len(models) == 1 else "the fastest"
            more = f"; {waiting} more, {check}" if waiting and self.status != "finished" else ""
            return f"{_meet(len(models))} {both}; {which} needs {fastest:.3g} ms{more}"
        if waiting:
            return f"{_meet(waiting)} {both}, {check}"
        if self.status == "finished":
            return f"no model meets {both}{self._short_of()}"
        return self._so_far(both)

    def _so_far(self, both: str) -> str:
        """How far a run is in which nothing meets both constraints yet."""
        measured = [e for e in self.evaluations if e.measurement]
        trained = sum(e.iou is not None for e in measured)
        if not measured:
            return "nothing is measured yet"
        if trained:
            return f"{trained} trained towards {both}{self._short_of()}"
        fit = sum(e.state != "too_slow" for e in measured)
        ceiling = self.constraints.ceiling
        return f"{len(measured)} measured, {fit} fit {ceiling}, nothing is trained yet"

    def _short_of(self) -> str:
        explained = self.explanation()
        nearest = next(iter(explained.nearest), None) if explained else None
        if nearest is None or nearest.measurement is None:
            return f"; {explained.summary}" if explained else ""
        at = f"{nearest.measurement.latency_ms(self.constraints.statistic):.3g} ms"
        if nearest.iou is not None:
            unsure = ", which is too uncertain" if meets(nearest, self.constraints) else ""
            return f"; the nearest has IoU {nearest.iou:.4f} at {at}{unsure}"
        return f"; the fastest needs {at}, and none is trained to a score"

    def explanation(self) -> Explanation | None:
        """Without a front: the binding constraint, the nearest misses, and what would help.

        While the run is live, nothing is advised: it is not known yet what it misses.
        """
        if self.front:
            return None
        explained = explain(
            InfeasibleRun(
                evaluations=self.evaluations,
                declaration=self.declaration,
                commands=self.commands,
                spent_s=self.spent_s,
                device=self.device,
                rungs=self.rungs,
                interrupted=self.status != "finished",
            )
        )
        return replace(explained, relax=()) if self.status == "running" else explained

    def bundle(self, key: str) -> Path:
        """The bundle of a front model. Raises InputError for a key without one."""
        found = sorted((self.files / "bundles").glob(f"*-{key}"))
        if not found:
            keys = ", ".join(e.candidate.key for e in self.front) or "none"
            raise InputError(
                f"the run {self.folder.name!r} has no bundle {key!r}; on its front: {keys}"
            )
        return found[0]

    def to_pandas(self) -> pandas.DataFrame:
        """All evaluations as a table, the front first."""
        from autoseg.run.rows import to_pandas

        return to_pandas(self.evaluations, self.baseline, statistic=self.constraints.statistic)

    def misses(self) -> list[str]:
        """The explanation in lines; empty where there is a front."""
        explained = self.explanation()
        return explained.lines() if explained else []

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data, as `--json` prints it: front.json and the status of the run.

        The fields are those of schema 1, which docs/json.md describes.
        """
        from autoseg.run.rows import front_json

        explained = self.explanation()
        return {
            "schema": SCHEMA,
            "run": str(self.folder),
            "device": self.device,
            "status": self.status,
            "searched": self.searched,
            "waiting": [e.candidate.key for e in self.waiting],
            "resume": self.resume_command,
            "spent_s": self.spent_s,
            "headline": self.headline,
            "verdict": [*self.verdict],
            "plan": [*self.plan],
            "misses": self.misses(),
            "explanation": explained.to_json() if explained else None,
            "outlook": to_json(self.outlook) if self.outlook else None,
            **front_json(self.front, self.constraints, self.baseline),
        }


def _meet(count: int) -> str:
    return "1 model meets" if count == 1 else f"{count} models meet"


def _lines(kind: str, events: Sequence[Event]) -> tuple[str, ...]:
    """The lines of the last event of a kind."""
    return next((tuple(e["lines"]) for e in reversed(events) if e["event"] == kind), ())


def _outlook(event: Event) -> Outlook:
    return Outlook(**{f.name: event[f.name] for f in fields(Outlook)})


def _status(folder: Path, events: Sequence[Event], on: str | None) -> Status:
    if events and events[-1]["event"] == "finished":
        return "finished"
    return "running" if is_running(folder, on) else "interrupted"


def _last_limits(events: Sequence[Event]) -> dict[str, Any]:
    """Budget and trials of the run's last session, as options; nothing before its plan."""
    given = [e["allowance"] for e in events if "allowance" in e and "on" not in e]
    if not given:
        return {}
    budget_s, trials = given[-1]
    return {"budget": None if budget_s is None else duration_text(budget_s), "trials": trials}


def _searched(events: Sequence[Event], on: str | None) -> bool:
    """Whether a search, or the survey of another device, has ended and none began since."""
    ends = {"searched", "finished", "verdict"} if on else {"searched", "finished"}
    begins = {"proposed", "measured", "reopened", "interrupted"}
    last = next((e for e in reversed(events) if e["event"] in ends | begins), None)
    return last is not None and last["event"] in ends


def declaration_for(raw: Mapping[str, Any], request: Event | None) -> Declaration:
    """The run's declaration, or that for a remeasured device, which may have its own ceiling."""
    declaration = Declaration.from_yaml(raw)
    if request is None:
        return declaration
    device, max_latency = request["on"], request["max_latency"]
    return replace(declaration, device=device, max_latency=max_latency, budget=None, trials=None)


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


def runs_in(results: Path) -> Sequence[Path]:
    """The runs of a results folder, oldest first."""
    return sorted(
        (p.parent for p in results.glob("*/run.yaml")),
        key=lambda f: (f / "run.yaml").stat().st_mtime,
    )
