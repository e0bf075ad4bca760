"""What the user declares: checked as a whole before anything is touched, kept in run.yaml."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from autoseg.core.errors import InputError
from autoseg.core.records import STATISTICS, Constraints, Statistic
from autoseg.core.units import parse_duration_s
from autoseg.core.yaml_files import did_you_mean
from autoseg.data.dataset import Reading
from autoseg.networks.space import check_effort_rank
from autoseg.train.recipe import Recipe

DEFAULT_BUDGET = "8m"
ANEW = ("budget", "trials", "workers")  # what a continued run may be given anew
SAID = ("max_latency", "min_iou", "effort", "workers", "seed")  # in a command, even if usual
POOLS = ("local",)
SAMPLERS = ("autoseg", "gp", "tpe", "nsga2", "nsga3", "random")


@dataclass(frozen=True)
class Declaration:
    """The arguments of one optimization, as plain data; `data` and `device` by name."""

    max_latency: str = "33ms"
    min_iou: float = 0.95
    statistic: Statistic = "p90"
    data: str | None = None
    format: str | None = None
    remap: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    device: str | Sequence[str] = "local"
    effort: str = "intermediate"
    space: str = "fast_scnn"
    budget: str | None = None
    trials: int | None = None
    sampler: str = "autoseg"
    pool: str = "local"
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    seed: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    augment: str | None = None

    def __post_init__(self) -> None:
        """Raises InputError with the rule, the value and the way out."""
        parse_duration_s(str(self.max_latency), "--max-latency", "33ms")
        _check_number("min_iou", self.min_iou, (int, float))
        if not 0 < self.min_iou < 1:
            share = f"; did you mean {self.min_iou / 100:g}?" if 1 < self.min_iou < 100 else ""
            raise InputError(f"--min-iou must be between 0 and 1, got {self.min_iou:g}{share}")
        if self.statistic not in STATISTICS:
            raise InputError(
                f"--statistic is one of {', '.join(STATISTICS)}, got {self.statistic!r}"
            )
        check_effort_rank(self.effort)
        if self.budget is not None:
            parse_duration_s(str(self.budget), "--budget", "8m")
        for name, least in (("trials", 1), ("workers", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None:
                _check_number(name, value, (int,))
                if value < least:
                    raise InputError(f"--{name} must be at least {least}, got {value}")
        if self.sampler not in SAMPLERS:
            hint = did_you_mean(str(self.sampler).lower(), SAMPLERS)
            raise InputError(
                f"--sampler is one of {', '.join(SAMPLERS)}, got {self.sampler!r}{hint}"
            )
        if self.pool not in POOLS:
            raise InputError(f"--pool is one of {', '.join(POOLS)}, got {self.pool!r}")
        Recipe.of(self.recipe)

    @classmethod
    def of(cls, given: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> Declaration:
        """The declaration of what was given (None: not given), over a continued run's own.

        Raises InputError when a continued run is asked for something else than it was begun with.
        """
        said = {name: value for name, value in given.items() if value is not None}
        if base is None:
            if said.keys().isdisjoint({"budget", "trials"}):
                said["budget"] = DEFAULT_BUDGET
            return cls(**said)
        known = {f.name for f in dataclasses.fields(cls)}
        before = {name: value for name, value in base.items() if name in known}
        for name, value in said.items():
            if name not in ANEW and before.get(name) != value:
                raise InputError(
                    f"the run was begun with {name}={before.get(name)!r}, and --resume cannot "
                    f"change it to {value!r}; start a new run with another --name "
                    "(budget, trials and workers may change)"
                )
        return cls(**{**before, **said})

    @property
    def constraints(self) -> Constraints:
        max_latency_ms = 1e3 * parse_duration_s(self.max_latency, "--max-latency", "33ms")
        return Constraints(round(max_latency_ms, 9), self.min_iou, self.statistic)

    @property
    def reading(self) -> Reading:
        """How the data folder is to be read."""
        return Reading(
            self.format,
            self.remap,
            self.split_column,
            self.group_column,
            self.group_pattern,
            self.seed,
        )

    @property
    def budget_s(self) -> float | None:
        """Seconds, or None where only the number of trials limits the run."""
        return None if self.budget is None else parse_duration_s(self.budget, "--budget", "8m")

    def command(self, name: str) -> str:
        """The command line that asks for the same as a run of that `name`."""
        words = ["autoseg", "optimize", "--name", name]
        for option, usual in Declaration().to_yaml().items():
            value, spelled = getattr(self, option), f"--{option.replace('_', '-')}"
            if option == "recipe":
                each = [f"{knob}={json.dumps(set_to)}" for knob, set_to in value.items()]
            elif value == usual and option not in SAID:
                each = []
            else:
                each = list(value) if isinstance(value, list | tuple) else [value]
            words += [word for one in each for word in (spelled, str(one))]
        return shlex.join(words)

    def to_yaml(self) -> dict[str, Any]:
        """Plain data for run.yaml."""
        return {**dataclasses.asdict(self), "recipe": dict(self.recipe)}


def _check_number(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds):
        what = "a number" if float in kinds else "a whole number"
        raise InputError(f"--{name.replace('_', '-')} must be {what}, got {value!r}")
