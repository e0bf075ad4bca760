"""The plan, before any training: what fits, seconds per training, what the budget pays for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoseg.core.records import Candidate, Evaluation, Job
from autoseg.core.units import clock
from autoseg.search.candidate_set import Ground
from autoseg.search.finalists import FINISH_SHARE, MOST, REPORT_S
from autoseg.search.gp import Array
from autoseg.search.protocol import Evaluations
from autoseg.search.status import p50
from autoseg.search.training_time import USEFUL_RUNG, Pricing
from autoseg.train.recipe import Recipe


@dataclass(frozen=True)
class Plan:
    """Says what is ahead, in plain sentences; `count` candidates are opened by the effort."""

    ground: Ground
    effort: str
    count: int
    recipe: Recipe
    pricing: Pricing
    trials: int | None = None

    def lines(
        self,
        evaluations: Evaluations,
        fitting: Sequence[Candidate],
        left_s: float | None,
        spent_s: float,
    ) -> list[str]:
        """Before a search; `left_s` is what the budget leaves after `spent_s`, if there is one."""
        lines = [self._candidates(evaluations, fitting), *self._refused()]
        if not fitting:
            return [*lines, "nothing is expected to fit, so nothing will be trained"]
        costs = [self.pricing.cost(c) for c in fitting]
        epoch_s = self.pricing.epochs_s(costs, evaluations)
        lines.append(self._trainings(np.sort(epoch_s)))
        if left_s is None:
            return [*lines, self._without_budget(epoch_s)]
        if left_s <= 0:
            spent = f"the budget of {clock(left_s + spent_s)} is spent"
            return [*lines, f"{spent}: nothing is searched without a longer --budget"]
        fresh = np.sort(epoch_s[[not _begun(evaluations.get(c.key)) for c in fitting]])
        return [*lines, *self._budget(evaluations, fresh, left_s, spent_s)]

    def _candidates(self, evaluations: Evaluations, fitting: Sequence[Candidate]) -> str:
        seen = len(self.ground.candidates)
        measured = {key for key, e in evaluations.items() if e.measurement}
        slow = sum(evaluations[key].state == "too_slow" for key in measured)
        guessed = [c for c in self.ground.candidates if c.key not in evaluations]
        fit = sum(c.key not in evaluations for c in fitting)
        text = f"{self.count} candidates at {self.effort} effort"
        if seen + len(self.ground.refused) < self.count:
            text += f", of which {seen} are looked at"
        text += f": {len(measured)} measured ({slow} too slow)"
        if guessed:
            text += f", {fit} more expected to fit, {len(guessed) - fit} expected to be too slow"
        return text

    def _refused(self) -> list[str]:
        refused = self.ground.refused
        if not refused:
            return []
        first, why = refused[0]
        return [f"{len(refused)} are left out: they cannot be built, such as {first} ({why})"]

    @property
    def _full_epochs(self) -> int:
        top = self.recipe.rungs[-1]
        return top + self.recipe.decay_epochs(top)

    def _trainings(self, epoch_s: Array) -> str:
        three = epoch_s[0], float(np.median(epoch_s)), epoch_s[-1]
        of_one = ", ".join(f"{s:.2g} s" for s in three)
        whole = ", ".join(_time(self._full_epochs * s) for s in three)
        return (
            f"of those that fit, the cheapest, the median and the most expensive take {of_one} "
            f"an epoch; "
            f"trained in full ({self._full_epochs} epochs) {whole}"
        )

    def _without_budget(self, epoch_s: Array) -> str:
        most = min(len(epoch_s), self.trials or len(epoch_s))
        whole_s = self._full_epochs * float(np.mean(epoch_s)) * most / self.pricing.workers
        return (
            f"without --budget it ends when nothing is worth training, after {_time(whole_s)} at "
            f"the most: {most} trained in full on {self.pricing.workers} worker(s); "
            "most are stopped long before"
        )

    def _budget(
        self, evaluations: Evaluations, epoch_s: Array, left_s: float, spent_s: float
    ) -> list[str]:
        """What the time left pays for; `epoch_s` is of those that are not begun."""
        kept_s = min(self._finish_s(evaluations), FINISH_SHARE * left_s)
        search_s = max(0.0, left_s - kept_s)
        said = [
            f"of the {clock(left_s)} left, up to {clock(kept_s)} are kept for finishing: decay, "
            f"export, timing and files; the search has {clock(search_s)}"
        ]
        if not len(epoch_s):
            return [*said, "all that fit are begun already, and may be trained further"]
        workers, first = self.pricing.workers, self.recipe.rungs[0]
        total_s, median_s = search_s * workers, float(np.median(epoch_s))
        begun = any(map(_begun, evaluations.values()))
        if first * epoch_s[0] > search_s:
            needs_s = (first + self.recipe.decay_epochs(first)) * epoch_s[0] / (1 - FINISH_SHARE)
            minutes = math.ceil((spent_s + 1.2 * needs_s) / 60)
            return [
                *said,
                f"not even the cheapest {'not begun ' if begun else ''}is expected to reach its "
                f"first rung ({first} epochs) in that time: it takes a --budget of {minutes}m "
                "or more",
            ]
        firsts = min(len(epoch_s), int(np.searchsorted(np.cumsum(first * epoch_s), total_s)))
        whole, wholes = firsts == len(epoch_s), total_s / (self._full_epochs * median_s)
        many = f"all {firsts} that fit" if whole else f"{firsts} of the {len(epoch_s)} that fit"
        many += " and are not begun" if begun else ""
        return [
            *said,
            f"{workers} worker(s) take {many} to their first "
            f"rung ({first} epochs) in it, cheap ones first, or train "
            f"{wholes:.0f} like the median in full",
        ]

    def _finish_s(self, evaluations: Evaluations) -> float:
        """Seconds for as many finalists as may be taken at a time, over all that fit."""
        able = (e for e in evaluations.values() if e.state in ("measured", "scored"))
        fit = sorted(able, key=p50)
        places = np.linspace(0, len(fit) - 1, min(MOST, len(fit))).round().astype(int)
        jobs = [self._decay(fit[place]) for place in places]
        return self.pricing.finish_s(jobs, evaluations) + REPORT_S

    def _decay(self, evaluation: Evaluation) -> Job:
        rung = self.recipe.rungs[min(USEFUL_RUNG, len(self.recipe.rungs) - 1)]
        epochs = self.recipe.decay_epochs(rung)
        return Job(evaluation.candidate, rung, rung + epochs, decay=True)


def _begun(evaluation: Evaluation | None) -> bool:
    return evaluation is not None and evaluation.score("val") is not None


def _time(seconds: float) -> str:
    return clock(seconds) if seconds >= 60 else f"{seconds:.2g} s"
