"""The Optuna study in the run's folder: the ledger's mirror, for Optuna's tools and dashboard.

One writer (the run); readable by the dashboard meanwhile. It is rebuilt from the ledger whenever
a run is continued.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from autoseg.records import Constraints, Evaluation
from autoseg.space import Knob, SearchSpace

log = logging.getLogger(__name__)

# What a state is to Optuna once it is final; anything else is still running until the run ends.
FINAL = {
    "too_slow": TrialState.PRUNED,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "confirmed": TrialState.COMPLETE,
    "struck": TrialState.COMPLETE,
}


class StudyMirror:
    """Writes each evaluation's trial: open while it runs, closed with values and reason."""

    def __init__(
        self, folder: Path, space: SearchSpace, effort: str, constraints: Constraints,
        *, declaration: Mapping[str, Any], evaluations: Iterable[Evaluation] = (),
    ) -> None:  # fmt: skip
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._constraints = constraints
        self._distributions = {
            k.name: _distribution(k) for k in space.knobs_at(effort) if len(k.choices) > 1
        }
        self._storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
        name = folder.name
        if any(study.study_name == name for study in self._storage.get_all_studies()):
            optuna.delete_study(study_name=name, storage=self._storage)
        study = optuna.create_study(
            study_name=name, storage=self._storage, directions=["minimize", "maximize"]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([f"latency {constraints.statistic} [ms]", "IoU"])
        study.set_user_attr("declaration", dict(declaration))
        self._study_id = self._storage.get_study_id_from_name(name)
        self._trials: dict[str, int] = {}
        self._written: dict[str, tuple[dict[str, Any], dict[int, float]]] = {}
        self._closed: set[str] = set()
        for evaluation in evaluations:
            self.update(evaluation)

    def update(self, evaluation: Evaluation) -> None:
        """Open the evaluation's trial if it is new, write what is known, close it if final."""
        key = evaluation.candidate.key
        if key in self._closed:
            return
        facts, rungs = _attributes(evaluation), _rungs(evaluation)
        if key not in self._trials:
            self._trials[key] = self._open(evaluation)
        else:  # only what is new: every write waits for the disk, and the search waits for it
            trial, written = self._trials[key], self._written[key]
            for name in [n for n, value in facts.items() if written[0].get(n) != value]:
                self._storage.set_trial_user_attr(trial, name, facts[name])
            for epoch in [e for e in rungs if e not in written[1]]:
                self._storage.set_trial_intermediate_value(trial, epoch, rungs[epoch])
        self._written[key] = facts, rungs
        if evaluation.state in FINAL:
            self._close(evaluation, FINAL[evaluation.state])

    def finish(self, evaluations: Iterable[Evaluation]) -> None:
        """Close what the end of the run leaves open: scored is COMPLETE, untrained is PRUNED."""
        for evaluation in evaluations:
            if evaluation.candidate.key not in self._closed:
                self.update(evaluation)
                scored = evaluation.iou is not None
                self._close(evaluation, TrialState.COMPLETE if scored else TrialState.PRUNED)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()

    def _open(self, evaluation: Evaluation) -> int:
        chosen = dict(evaluation.candidate.choices)
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: chosen[name] for name in self._distributions},
            distributions=self._distributions,
            user_attrs=_attributes(evaluation),
            intermediate_values=_rungs(evaluation),
        )
        return self._storage.create_new_trial(self._study_id, template)

    def _close(self, evaluation: Evaluation, state: TrialState) -> None:
        key = evaluation.candidate.key
        if key in self._closed:
            return
        trial = self._trials[key]
        values = None
        if state == TrialState.COMPLETE and evaluation.measurement and evaluation.iou is not None:
            values = [
                evaluation.measurement.latency_ms(self._constraints.statistic),
                evaluation.iou,
            ]
            # The old attribute: Optuna 5 reads it as well, and dashboard 0.21 reads nothing else.
            over = [
                values[0] - self._constraints.max_latency_ms,
                self._constraints.min_iou - values[1],
            ]
            self._storage.set_trial_system_attr(trial, "constraints", over)
        self._storage.set_trial_state_values(trial, state, values)
        self._closed.add(key)


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


def _attributes(evaluation: Evaluation) -> dict[str, Any]:
    facts: dict[str, Any] = {"key": evaluation.candidate.key, "state": evaluation.state}
    if evaluation.error:
        facts["reason"] = evaluation.error
    if evaluation.cost:
        facts |= {"params": evaluation.cost.params, "macs": evaluation.cost.macs}
    if evaluation.measurement:
        facts |= {
            "device": evaluation.measurement.device,
            "latency_p50_ms": evaluation.measurement.p50_ms,
        }
    return facts
