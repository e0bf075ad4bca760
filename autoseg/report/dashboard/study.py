"""The Optuna study in the run's folder: the ledger's mirror, for Optuna's tools and dashboard.

One writer (the run); readable by the dashboard meanwhile. It is built anew from the ledger
whenever a run is continued. Nothing is read from it, and what is wrong with it never stops a run.
"""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.artifacts import ArtifactMeta
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from autoseg.core.diagnostics import sheet_path
from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Constraints, Evaluation
from autoseg.networks.space import Knob, SearchSpace
from autoseg.report.dashboard.attributes import facts_of, stated
from autoseg.report.dashboard.database import Database

log = logging.getLogger(__name__)

# What a state is to Optuna once it is final; anything else is still running until the run ends.
FINAL = {
    "too_slow": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "confirmed": TrialState.COMPLETE,
    "rejected": TrialState.COMPLETE,
}
LEFT = {
    "proposed": "never measured",
    "measured": "fits, never trained",
    "scored": "trained, never confirmed",
}
LOOK_EVERY_S = 10.0  # between two drawings of the study's figures while the run goes on
LOOK_SHARE = 0.02  # of the run's time that drawing may take, however large the run is


@dataclass(frozen=True)
class View:
    """What is shown of a study as a whole: Markdown, and plotly's figures by their HTML ids."""

    note: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


class StudyMirror:
    """Writes each evaluation's trial: open while it runs, closed with values and reason.

    `look` draws what the study shows as a whole; it is asked now and then, and at the end.
    """

    def __init__(
        self, folder: Path, space: SearchSpace, effort: str, constraints: Constraints,
        *, declaration: Mapping[str, Any], evaluations: Iterable[Evaluation] = (),
        look: Callable[[], View] = View,
    ) -> None:  # fmt: skip
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder, self._constraints, self._look = folder, constraints, look
        self._distributions = {
            k.name: _distribution(k) for k in space.knobs_at(effort) if len(k.choices) > 1
        }
        self._trials: dict[str, int] = {}
        self._written: dict[str, tuple[dict[str, Any], dict[int, float]]] = {}
        self._sheets: dict[str, int] = {}
        self._closed: set[str] = set()
        self._untested: dict[str, Evaluation] = {}
        self._next_look = 0.0
        self._broken = False
        with self._harmless():
            self._database = Database(folder / "study.db")
            with self._database.at_once():
                self._begin(declaration)
                for evaluation in evaluations:
                    self._update(evaluation)

    def hear(self, event: Mapping[str, Any], evaluations: Mapping[str, Evaluation]) -> None:
        """Mirror what an event of the ledger has changed, and draw anew when it is time."""
        if self._broken:
            return
        if "key" in event:
            with self._harmless(), self._database.at_once():
                self._update(evaluations[event["key"]])
        if time.monotonic() >= self._next_look:
            self._draw()

    def finish(self, evaluations: Iterable[Evaluation]) -> None:
        """Close what the end of the run leaves open: scored is COMPLETE, untrained is PRUNED."""
        if self._broken:
            return
        with self._harmless(), self._database.at_once():
            for evaluation in evaluations:
                self._update(evaluation)
                self._leave(evaluation)

    def _leave(self, evaluation: Evaluation) -> None:
        """Close what the end of the run finds open, and say what became of it."""
        key, scored = evaluation.candidate.key, evaluation.iou is not None
        if evaluation.state in LEFT and key not in self._closed:
            why = LEFT[evaluation.state]
            self._database.storage.set_trial_user_attr(self._trials[key], "reason", why)
            self._close(evaluation, TrialState.COMPLETE if scored else TrialState.PRUNED)

    def close(self) -> None:
        """Draw a last time, and let go of the database.

        What is confirmed stands on the front of a run that never read test, too.
        """
        if not self._broken:
            with self._harmless(), self._database.at_once():
                for evaluation in self._untested.values():
                    self._close(evaluation, FINAL[evaluation.state])
        if not self._broken and self._next_look < math.inf:
            self._draw()
        if not self._broken:
            with self._harmless():
                self._database.close()

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        """Whatever fails here is said once; the run goes on, and its ledger has it all."""
        try:
            yield
        except Exception as error:
            self._broken = True
            log.warning(
                "study.db is not kept up any more (%r); the run goes on, and --resume builds the "
                "study anew", error,
            )  # fmt: skip

    def _begin(self, declaration: Mapping[str, Any]) -> None:
        self._study = optuna.create_study(
            study_name=self._folder.name, storage=self._database.storage,
            directions=["minimize", "maximize"],
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([f"latency {self._constraints.statistic} [ms]", "IoU"])
        for name, value in stated(declaration).items():
            self._study.set_user_attr(name, value)

    def _update(self, evaluation: Evaluation) -> None:
        """Open the evaluation's trial if it is new, write what is known, close it if final."""
        key = evaluation.candidate.key
        if key not in self._closed:
            facts, rungs = facts_of(evaluation, self._constraints), _rungs(evaluation)
            if key not in self._trials:
                self._trials[key] = self._open(evaluation, facts, rungs)
            else:
                self._write(key, facts, rungs)
            self._written[key] = facts, rungs
        self._show_sheet(key)
        self._untested.pop(key, None)
        # Test is read after all is confirmed, and Optuna refuses to write to a closed trial.
        if evaluation.promised and not evaluation.score("test"):
            self._untested[key] = evaluation
        elif evaluation.state in FINAL:
            self._close(evaluation, FINAL[evaluation.state])

    def _open(self, evaluation: Evaluation, facts: dict[str, Any], rungs: dict[int, float]) -> int:
        chosen = dict(evaluation.candidate.choices)
        active = {name: d for name, d in self._distributions.items() if name in chosen}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: chosen[name] for name in active},
            distributions=active,
            user_attrs=facts,
            intermediate_values=rungs,
        )
        return self._database.storage.create_new_trial(self._study._study_id, template)

    def _write(self, key: str, facts: dict[str, Any], rungs: dict[int, float]) -> None:
        """Only what is new: the search waits for it."""
        trial, (old_facts, old_rungs) = self._trials[key], self._written[key]
        for name in [n for n, value in facts.items() if old_facts.get(n) != value]:
            self._database.storage.set_trial_user_attr(trial, name, facts[name])
        for epoch in [e for e in rungs if e not in old_rungs]:
            self._database.storage.set_trial_intermediate_value(trial, epoch, rungs[epoch])

    def _show_sheet(self, key: str) -> None:
        """Have the candidate's contact sheet as its artifact, as it is now."""
        sheet = sheet_path(self._folder, key)
        if not sheet.exists() or self._sheets.get(key) == (written := sheet.stat().st_mtime_ns):
            return
        # By the candidate's key, not by a new id: a sheet that is drawn anew replaces the old one.
        place = artifacts_of(self._folder)
        place.mkdir(exist_ok=True)
        temporary = place / f"{key}.tmp"
        temporary.write_bytes(sheet.read_bytes())
        temporary.replace(place / key)
        if key not in self._sheets and key not in self._closed:
            meta = ArtifactMeta(key, sheet.name, "image/jpeg", None)
            self._database.storage.set_trial_system_attr(
                self._trials[key], f"artifacts:{key}", json.dumps(asdict(meta))
            )
        self._sheets[key] = written

    def _close(self, evaluation: Evaluation, state: TrialState) -> None:
        key = evaluation.candidate.key
        if key in self._closed:
            return
        trial, storage = self._trials[key], self._database.storage
        values = None
        if state == TrialState.COMPLETE and evaluation.measurement and evaluation.iou is not None:
            values = [
                evaluation.measurement.latency_ms(self._constraints.statistic),
                evaluation.iou,
            ]
            # The old attribute: Optuna 5 reads it as well, and dashboard 0.21 reads nothing else.
            storage.set_trial_system_attr(trial, "constraints", self._over(evaluation, *values))
        storage.set_trial_state_values(trial, state, values)
        self._closed.add(key)

    def _over(self, evaluation: Evaluation, latency_ms: float, iou: float) -> list[float]:
        """Over zero is a constraint that is missed. The third is the promise: what is rejected, or
        was never confirmed, may meet both figures and is not on the front all the same."""
        sure = evaluation.p_feasible or 0.0
        limits = self._constraints
        return [latency_ms - limits.max_latency_ms, limits.min_iou - iou, MIN_P_FEASIBLE - sure]

    def _draw(self) -> None:
        from optuna_dashboard import save_note, save_plotly_graph_object

        began = time.monotonic()
        try:
            view = self._look()
        except Exception as error:
            log.warning("the study's figures are not drawn any more (%r)", error)
            self._next_look = math.inf
            return
        with self._harmless(), self._database.at_once():  # a reader never sees half of a figure
            if view.note:
                save_note(self._study, view.note)
            for name, figure in view.figures.items():
                save_plotly_graph_object(self._study, figure, graph_object_id=name)
        now = time.monotonic()
        self._next_look = now + max(LOOK_EVERY_S, (now - began) / LOOK_SHARE)


def artifacts_of(folder: Path) -> Path:
    """Where the files of a run's study lie, as optuna.artifacts' FileSystemArtifactStore has them
    (`artifacts/` are the networks)."""
    return folder / "artifacts-study"


def _distribution(knob: Knob) -> BaseDistribution:
    if not knob.ordered:
        return CategoricalDistribution(knob.choices)
    low, high = min(knob.choices), max(knob.choices)
    if all(isinstance(choice, int) for choice in knob.choices):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(float(low), float(high))


def _rungs(evaluation: Evaluation) -> dict[int, float]:
    trained = [s for s in evaluation.scores if s.split == "val" and s.source == "torch"]
    return {score.epoch: score.iou for score in trained}
