"""The Optuna study in the run's folder: a copy of the ledger for Optuna's tools and dashboard.

The run is its only writer; the dashboard reads it meanwhile. It is rebuilt from the ledger when a
run is resumed. autoseg reads nothing from it, and its errors never stop a run.
"""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
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
from autoseg.core.files import write_atomically
from autoseg.core.records import STATE_LABELS, Constraints, Evaluation
from autoseg.networks.space import Knob, SearchSpace
from autoseg.report.dashboard.database import Database
from autoseg.report.dashboard.texts import StudyOverview, study_attributes, trial_attributes
from autoseg.report.plot_data import learning_curve
from autoseg.run.rows import promised_name

log = logging.getLogger(__name__)

# Optuna's state for final states; trials in other states are RUNNING until the run ends.
FINAL = {
    "too_slow": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "confirmed": TrialState.COMPLETE,
    "rejected": TrialState.COMPLETE,
}
DRAW_EVERY_S = 10.0  # at least this long between two drawings of the overview
MAX_DRAW_SHARE = 0.02  # of the run's time, also in a large run


class StudyMirror:
    """Writes each evaluation's trial: open while it runs, closed with values and reason.

    `overview` makes the note and the figures; it is called at intervals and at the end.
    """

    def __init__(
        self, folder: Path, space: SearchSpace, effort: str, constraints: Constraints,
        *, declaration: Mapping[str, Any], evaluations: Iterable[Evaluation] = (),
        overview: Callable[[], StudyOverview] = StudyOverview,
    ) -> None:  # fmt: skip
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._folder, self._constraints, self._overview = folder, constraints, overview
        self._distributions = {
            k.name: _distribution(k) for k in space.knobs_at(effort) if len(k.choices) > 1
        }
        self._trials: dict[str, int] = {}
        self._written: dict[str, tuple[dict[str, Any], dict[int, float]]] = {}
        self._sheets: dict[str, int] = {}
        self._closed: set[str] = set()
        self._untested: dict[str, Evaluation] = {}
        self._next_draw = 0.0
        self._broken = False
        with self._errors_logged():
            self._database = Database(folder / "study.db")
            with self._database.transaction():
                self._begin(declaration)
                for evaluation in evaluations:
                    self._write_trial(evaluation)
        if self._trials and not self._broken:  # a resumed run's next event may be minutes away
            self._draw()

    def update(self, event: Mapping[str, Any], evaluations: Mapping[str, Evaluation]) -> None:
        """Write the changes of a ledger's event; draw the overview again when it is due."""
        if self._broken:
            return
        if "key" in event:
            with self._errors_logged(), self._database.transaction():
                self._write_trial(evaluations[event["key"]])
        if time.monotonic() >= self._next_draw:
            self._draw()

    def finish(self, evaluations: Iterable[Evaluation]) -> None:
        """Close the open trials at the end of the run: COMPLETE if scored, else PRUNED."""
        if self._broken:
            return
        with self._errors_logged(), self._database.transaction():
            for evaluation in evaluations:
                self._write_trial(evaluation)
                self._close_unfinished(evaluation)

    def _close_unfinished(self, evaluation: Evaluation) -> None:
        """Close a trial that is still running at the end of the run, with its state as reason."""
        key, scored = evaluation.candidate.key, evaluation.iou is not None
        if evaluation.state not in FINAL and key not in self._closed:
            reason = f"{STATE_LABELS[evaluation.state]} at the end of the run"
            self._database.storage.set_trial_user_attr(self._trials[key], "reason", reason)
            self._close(evaluation, TrialState.COMPLETE if scored else TrialState.PRUNED)

    def close(self) -> None:
        """Draw a last time and close the database.

        Confirmed trials are closed also where the run never read test.
        """
        if not self._broken:
            with self._errors_logged(), self._database.transaction():
                for evaluation in self._untested.values():
                    self._close(evaluation, FINAL[evaluation.state])
        if not self._broken and self._next_draw < math.inf:
            self._draw()
        if not self._broken:
            with self._errors_logged():
                self._database.close()

    @contextmanager
    def _errors_logged(self) -> Iterator[None]:
        """The first failure is logged and ends the writing; the run continues with its ledger."""
        try:
            yield
        except Exception as error:
            self._broken = True
            log.warning(
                "study.db is not updated any more (%r); the run continues, and --resume rebuilds "
                "the study", error,
            )  # fmt: skip

    def _begin(self, declaration: Mapping[str, Any]) -> None:
        self._study = optuna.create_study(
            study_name=self._folder.name, storage=self._database.storage,
            directions=["minimize", "maximize"],
        )  # fmt: skip
        promised = promised_name(self._constraints.statistic, self._constraints.latency)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names([f"{promised} [ms]", "IoU"])
        for name, value in study_attributes(declaration).items():
            self._study.set_user_attr(name, value)

    def _write_trial(self, evaluation: Evaluation) -> None:
        """Open the evaluation's trial if it is new, write its attributes, close it if final."""
        key = evaluation.candidate.key
        if key not in self._closed:
            attributes = trial_attributes(evaluation, self._constraints)
            rungs = {score.epoch: score.iou for score in learning_curve(evaluation)}
            if key not in self._trials:
                self._trials[key] = self._open(evaluation, attributes, rungs)
            else:
                self._write(key, attributes, rungs)
            self._written[key] = attributes, rungs
        self._update_sheet(key)
        self._untested.pop(key, None)
        # Test is read after all confirmations, and Optuna refuses to write to a closed trial.
        if evaluation.promised and not evaluation.score("test"):
            self._untested[key] = evaluation
        elif evaluation.state in FINAL:
            self._close(evaluation, FINAL[evaluation.state])

    def _open(
        self, evaluation: Evaluation, attributes: dict[str, Any], rungs: dict[int, float]
    ) -> int:
        chosen = dict(evaluation.candidate.choices)
        active = {name: d for name, d in self._distributions.items() if name in chosen}
        params = {name: chosen[name] for name in active}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING, params=params, distributions=active, user_attrs=attributes,
            intermediate_values=rungs,
        )  # fmt: skip
        return self._database.storage.create_new_trial(self._study._study_id, template)

    def _write(self, key: str, attributes: dict[str, Any], rungs: dict[int, float]) -> None:
        """Write only the changes: the search waits for it."""
        trial, (old, old_rungs) = self._trials[key], self._written[key]
        for name, value in attributes.items():
            if old.get(name) != value:
                self._database.storage.set_trial_user_attr(trial, name, value)
        for epoch, iou in rungs.items():
            if epoch not in old_rungs:
                self._database.storage.set_trial_intermediate_value(trial, epoch, iou)

    def _update_sheet(self, key: str) -> None:
        """Copy the candidate's current contact sheet as the artifact of its trial."""
        sheet = sheet_path(self._folder, key)
        if not sheet.exists() or self._sheets.get(key) == (written := sheet.stat().st_mtime_ns):
            return
        # The candidate's key is the id: a new sheet replaces the old one.
        place = artifacts_folder(self._folder)
        place.mkdir(exist_ok=True)
        write_atomically(place / key, sheet.read_bytes())
        if key not in self._sheets and key not in self._closed:
            meta = ArtifactMeta(key, sheet.name, "image/jpeg", None)
            trial, name = self._trials[key], f"artifacts:{key}"
            self._database.storage.set_trial_system_attr(trial, name, json.dumps(asdict(meta)))
        self._sheets[key] = written

    def _close(self, evaluation: Evaluation, state: TrialState) -> None:
        key = evaluation.candidate.key
        if key in self._closed:
            return
        trial, storage = self._trials[key], self._database.storage
        values = None
        if state == TrialState.COMPLETE and evaluation.measurement and evaluation.iou is not None:
            asked, iou = self._constraints, evaluation.iou
            values = [ms := evaluation.measurement.latency_ms(asked.statistic), iou]
            # Over zero: violated. The third keeps rejected and unconfirmed candidates, which may
            # meet the other two, off the front.
            sure = evaluation.p_feasible or 0.0
            over = [ms - asked.max_latency_ms, asked.min_iou - iou, MIN_P_FEASIBLE - sure]
            # The old attribute: Optuna 5 reads it as well, and dashboard 0.21 reads nothing else.
            storage.set_trial_system_attr(trial, "constraints", over)
        storage.set_trial_state_values(trial, state, values)
        self._closed.add(key)

    def _draw(self) -> None:
        from optuna_dashboard import save_note, save_plotly_graph_object

        began = time.monotonic()
        try:
            overview = self._overview()
        except Exception as error:
            log.warning("the study's figures are not updated any more (%r)", error)
            self._next_draw = math.inf
            return
        with self._errors_logged(), self._database.transaction():
            if overview.note:
                save_note(self._study, overview.note)
            for name, figure in overview.figures.items():
                save_plotly_graph_object(self._study, figure, graph_object_id=name)
        now = time.monotonic()
        self._next_draw = now + max(DRAW_EVERY_S, (now - began) / MAX_DRAW_SHARE)


def artifacts_folder(folder: Path) -> Path:
    """The folder of the artifacts of a run's study, in the layout of Optuna's
    FileSystemArtifactStore (`artifacts/` holds the networks)."""
    return folder / "artifacts-study"


def _distribution(knob: Knob) -> BaseDistribution:
    if not knob.ordered:
        return CategoricalDistribution(knob.choices)
    low, high = min(knob.choices), max(knob.choices)
    if all(isinstance(choice, int) for choice in knob.choices):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(float(low), float(high))
