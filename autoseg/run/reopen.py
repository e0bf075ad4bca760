"""What a continued run goes on from: its checkpoints, and rejected candidates to train further."""

from __future__ import annotations

from autoseg.core.feasibility import MIN_P_FEASIBLE
from autoseg.core.records import Evaluation
from autoseg.run.store import Run
from autoseg.train.recipe import Recipe


def reopen(run: Run, recipe: Recipe, allowance: list[float | None]) -> int:
    """Let candidates that were rejected for their IoU be trained further; returns their number.

    Where the search gets more time or trials than ever, all of them; else those that were rejected
    after the last interruption. More training helps neither those at the top rung nor those that
    were rejected for their latency.
    """
    marks = [i for i, e in enumerate(run.events) if e["event"] in ("searched", "interrupted")]
    used = searched(run)
    if not marks or allowance in used:
        return 0
    if all(_exceeds(allowance, earlier) for earlier in used):
        since = 0
    elif run.events[marks[-1]]["event"] == "interrupted":
        since = marks[-1]
    else:
        return 0
    rejected = dict.fromkeys(e["key"] for e in run.events[since:] if e["event"] == "rejected")
    trainable = [e for key in rejected if _trainable(e := run.evaluations[key], recipe)]
    for evaluation in trainable:
        run.record("reopened", evaluation.candidate)
    if trainable:
        run.notify(f"{len(trainable)} model(s) rejected for their IoU may be trained further")
    return len(trainable)


def kept_checkpoints(run: Run) -> set[str]:
    """The checkpoints that candidates which are still in the search go on from."""
    last = {e["key"]: e.get("checkpoint", "") for e in run.events if e["event"] == "scored"}
    return {name for key, name in last.items() if run.evaluations[key].state == "scored"}


def searched(run: Run) -> list[list[float | None]]:
    """The allowances that searches have used."""
    return [e["allowance"] for e in run.events if e["event"] == "searched"]


def _exceeds(allowance: list[float | None], used: list[float | None]) -> bool:
    """Whether more time or more trials are allowed than were used; None is no limit."""
    pairs = zip(allowance, used, strict=True)
    return any(was is not None and (now is None or now > was) for now, was in pairs)


def _trainable(evaluation: Evaluation, recipe: Recipe) -> bool:
    promised, trained = evaluation.promised, evaluation.score(source="torch", decayed=False)
    short = trained is not None and trained.epoch < recipe.rungs[-1]
    unsure = promised is not None and (promised.p_floor or 0) < MIN_P_FEASIBLE
    return evaluation.state == "rejected" and short and unsure
