"""The recipe of a training: plain numbers, so that a run can state, digest and repeat it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from autoseg.core.errors import InputError

# Rungs, in epochs. The thesis trained 400 epochs; so does `thorough`, with the decay. Only good
# candidates reach the top rung, so a longer schedule costs the others nothing.
SCHEDULES = {
    "quick": (3, 9, 27),
    "standard": (3, 9, 27, 81),
    "thorough": (3, 9, 27, 81, 333),
}
OF_EFFORT = {"entry": "quick", "intermediate": "standard", "expert": "thorough"}
# The numbers that a candidate may have of its own, as knobs of stage `train`. All others are the
# same for every candidate: scores at a rung must compare, and a decay's length is planned ahead.
OF_CANDIDATE = (
    "optimizer", "learning_rate", "weight_decay", "batch", "warmup_steps", "average_share",
    "average_steps", "dice_weight", "clip_norm", "augment_epochs",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Warm-up, then a constant rate and an average of the weights, so that all rungs compare.

    Only finalists branch into a short decay to zero (`decay_share` of the epochs so far). Decayed
    scores are never compared with undecayed ones. Raises InputError for a value out of range.
    """

    rungs: tuple[int, ...] = SCHEDULES["standard"]
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    learning_rate: float = 0.02
    weight_decay: float = 1e-2
    batch: int = 8
    warmup_steps: int = 30
    average_share: float = 0.15
    average_steps: int = 400
    decay_share: float = 0.2
    dice_weight: float = 0.5
    clip_norm: float = 5.0
    augment: bool = True
    augment_epochs: int = 60
    epoch_pictures: int = 4000
    subset_epochs: int = 9
    val_pictures: int = 1000

    def __post_init__(self) -> None:
        rules = {
            "rungs": self.rungs == tuple(sorted({e for e in self.rungs if e > 0})) != (),
            "optimizer": self.optimizer in ("muon", "adamw", "sgd"),
            "learning_rate": self.learning_rate > 0,
            "weight_decay": self.weight_decay >= 0,
            "batch": self.batch >= 1,
            "warmup_steps": self.warmup_steps >= 0,
            "average_share": 0 < self.average_share <= 1,
            "average_steps": self.average_steps >= 1,
            "decay_share": 0 < self.decay_share <= 1,
            "dice_weight": 0 <= self.dice_weight <= 1,
            "clip_norm": self.clip_norm > 0,
            "augment_epochs": self.augment_epochs >= 0,
            "epoch_pictures": self.epoch_pictures >= 1,
            "subset_epochs": self.subset_epochs >= 0,
            "val_pictures": self.val_pictures >= 1,
        }  # fmt: skip
        wrong = [f"{name}={getattr(self, name)!r}" for name, holds in rules.items() if not holds]
        if wrong:
            raise InputError(f"recipe out of range: {', '.join(wrong)}; defaults: {Recipe()}")

    @classmethod
    def of(cls, overrides: Mapping[str, Any]) -> Recipe:
        """The default recipe with some numbers replaced; `schedule` names the rungs.

        Raises InputError for an unknown name, a wrong type or a value out of range.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        numbers = {name: value for name, value in overrides.items() if name != "schedule"}
        unknown = sorted(set(numbers) - set(known))
        if unknown:
            names = ", ".join(["schedule", *known])
            raise InputError(f"recipe: unknown {', '.join(unknown)}; known: {names}")
        schedule = overrides.get("schedule", "standard")
        if schedule not in SCHEDULES:
            raise InputError(
                f"recipe: schedule is one of {', '.join(SCHEDULES)}, got {schedule!r}"
            )
        values = {name: _like(name, known[name], value) for name, value in numbers.items()}
        return cls(**{"rungs": SCHEDULES[schedule], **values})

    def having(self, numbers: Mapping[str, Any]) -> Recipe:
        """This recipe with a candidate's own numbers.

        Raises InputError for a number that no candidate may have of its own, a wrong type or a
        value out of range.
        """
        for name in numbers:
            if name not in OF_CANDIDATE:
                raise InputError(
                    f"a knob of stage train is one of {', '.join(OF_CANDIDATE)}; got {name!r}"
                )
        values = {name: _like(name, getattr(self, name), v) for name, v in numbers.items()}
        return dataclasses.replace(self, **values)

    def decay_epochs(self, epoch: int) -> int:
        """The length of the final decay after `epoch` epochs."""
        return max(2, round(self.decay_share * epoch))

    def augmented_share(self, epoch: int) -> float:
        """The fraction of augmented pictures in an epoch: half at `augment_epochs`, more later.

        Pictures need no augmentation before they were seen often, and early augmentation lowers a
        small net's IoU. It depends on the epoch alone, so rungs stay comparable.
        """
        return epoch / max(1, epoch + self.augment_epochs) if self.augment else 0.0

    def pictures(self, epoch: int, available: int) -> tuple[int, int]:
        """The first row of an epoch and the number of rows that it visits, cyclically.

        In a large data set an epoch visits `epoch_pictures`. Up to `subset_epochs` they are the
        same ones, so the low rungs of a resolution need no others decoded. Later epochs go through
        the rest in parts; rows are ordered so that each part has the class shares of the whole.
        """
        visited = min(available, self.epoch_pictures)
        part = max(0, epoch + 1 - self.subset_epochs) if available > visited else 0
        return part * visited % available, visited

    def next_rung(self, epoch: int) -> int | None:
        """The first rung after `epoch`, or None at the top."""
        return next((rung for rung in self.rungs if rung > epoch), None)


def _like(name: str, default: Any, value: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        value = tuple(value)
        fits = all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    elif isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value, fits = float(value), True
    else:
        fits = type(value) is type(default)
    if not fits:
        raise InputError(f"recipe: {name} must be like {default!r}, got {value!r}")
    return value
