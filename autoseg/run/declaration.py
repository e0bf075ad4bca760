"""What the user declares: the one list of options, checked as a whole, kept in run.yaml.

Each field of `Declaration` carries an `Option`: its help, default, and how the command line spells
it. cli/ builds its options from these; a test holds the Python signature, run.yaml and the docs'
table to them. Rooms with heavy packages are imported where a check needs them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoseg.core.errors import InputError
from autoseg.core.records import LATENCIES, STATISTICS, Constraints, Latency, Statistic
from autoseg.core.units import parse_duration_s, parse_frame_hw
from autoseg.core.yaml_files import did_you_mean

if TYPE_CHECKING:
    from autoseg.data.dataset import Reading

DEFAULT_BUDGET = "8m"  # of a new run without --trials
POOLS = ("local", "ray", "auto")  # or the address of a Ray cluster
SAMPLERS = ("autoseg", "gp", "tpe", "nsga2", "nsga3", "random")


@dataclass(frozen=True, kw_only=True)
class Option:
    """How users see a field.

    `default` is the default in words, where the value itself does not tell; `example` a value of
    a duration with its unit, `choices` all values, `minimum` the lowest. `changeable` fields may
    differ when a run is continued; `explicit` ones are written in a command even at their default.
    A `place` may be a path, and lie elsewhere when a run is continued.
    """

    help: str
    metavar: str
    default: str = ""
    example: str = ""
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    changeable: bool = False
    place: bool = False
    explicit: bool = False


def _option(usual: Any, /, **facts: Any) -> Any:
    """A field of the declaration; `usual` is its default, or a function that makes it."""
    metadata = {"option": Option(**facts)}
    if callable(usual):
        return field(default_factory=usual, metadata=metadata)
    return field(default=usual, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """The options of one optimization, as plain data; `data` and `device` by name."""

    max_latency: str = _option(
        "33ms", metavar="TIME", help="the ceiling, with its unit", example="33ms", explicit=True
    )
    min_iou: float = _option(0.95, metavar="SHARE", help="the floor, a fraction", explicit=True)
    statistic: Statistic = _option(
        "p90", metavar="NAME", choices=STATISTICS,
        help=f"the promised latency: {', '.join(STATISTICS)}",
    )  # fmt: skip
    latency: Latency = _option(
        "model", metavar="NAME", choices=LATENCIES,
        help="what is promised: the latency of the model alone, or of a whole frame: resize, "
        "model and resize back",
    )  # fmt: skip
    frame: str | None = _option(
        None, metavar="WxH", default="the median size of val",
        help="the size of a frame of the camera, such as 1920x1080",
    )  # fmt: skip
    data: str | None = _option(
        None,
        metavar="DIR",
        place=True,
        help="labelled pictures, or a .zip",
        default="the synthetic parcels",
    )
    format: str | None = _option(
        None, metavar="NAME", default="recognized", help="the data's format, if not recognized"
    )
    remap: str | None = _option(
        None, metavar="FILE", place=True,
        help="a YAML file that merges, renames or drops classes",
    )  # fmt: skip
    split_column: str | None = _option(
        None, metavar="NAME", help="the column of index.csv that holds the split"
    )
    group_column: str | None = _option(
        None, metavar="NAME", help="the column of index.csv that holds the group"
    )
    group_pattern: str | None = _option(
        None, metavar="REGEX",
        help="a regular expression: its match in a picture's name is the picture's group",
    )  # fmt: skip
    device: str | Sequence[str] = _option(
        "local", metavar="NAME", place=True,
        help="local, a profile's name or file, or user@host[:port]; given again, boards of one "
        "kind that share the measuring",
    )  # fmt: skip
    effort: str = _option(
        "intermediate", metavar="LEVEL", help="entry, intermediate, expert", explicit=True
    )
    space: str = _option("fast_scnn", metavar="NAME", place=True, help="a space's name or file")
    budget: str | None = _option(
        None, metavar="TIME", example=DEFAULT_BUDGET, changeable=True,
        default=f"{DEFAULT_BUDGET}, without --trials",
        help="time for all of it, confirmation included, such as 2h",
    )  # fmt: skip
    trials: int | None = _option(
        None, metavar="N", minimum=1, changeable=True, default="as many as the budget allows",
        help="number of candidates, untrained ones included; without --budget, there is no limit "
        "on time",
    )  # fmt: skip
    sampler: str = _option(
        "autoseg", metavar="NAME", choices=SAMPLERS,
        help="proposer of candidates: autoseg, or Optuna's gp, tpe, nsga2, nsga3, random",
    )  # fmt: skip
    pool: str = _option(
        "local", metavar="NAME", changeable=True,
        help="where trainings run: local; ray, started here; the Ray cluster of this node, auto, "
        "or at HOST:PORT",
    )  # fmt: skip
    workers: int | None = _option(
        None, metavar="N", minimum=1, changeable=True,
        default="up to 8 a GPU, by its memory; else one a core, at most the CPU quota rounded up; "
        "on a cluster as many as there is room for",
        help="trainings side by side",
    )  # fmt: skip
    gpus: int | None = _option(
        None, metavar="N", minimum=0, changeable=True, default="all that are there",
        help="how many GPUs are used; 0 trains on the cores although there are GPUs",
    )  # fmt: skip
    gpus_per_trial: float | None = _option(
        None, metavar="SHARE", changeable=True,
        default="by the memory of the largest candidate, at least 1/8",
        help="the share of a GPU that one training takes, such as 0.25",
    )  # fmt: skip
    storage: str | None = _option(
        None, metavar="URL", changeable=True, default="the run's folder",
        help="where checkpoints are kept: any URL that fsspec opens, such as s3://bucket/folder; "
        "they lie in a folder there that has the run's name",
    )  # fmt: skip
    seed: int = _option(
        0, metavar="N", minimum=0, explicit=True, help="for data splits, proposals and training"
    )
    recipe: Mapping[str, Any] = _option(
        dict, metavar="NAME=VALUE",
        help="change the training recipe, such as augment=false; may be given again",
    )  # fmt: skip
    augment: str | None = _option(
        None, metavar="FILE", default="the built-in one", place=True,
        help="an augmentation saved by albumentations (.json, .yaml), or package.module:function",
    )  # fmt: skip

    def __post_init__(self) -> None:
        """Raises InputError with the rule, the value and the way out."""
        from autoseg.networks.space import check_effort_rank
        from autoseg.train.recipe import Recipe
        from autoseg.train.storage import check_url

        for name, option in OPTIONS.items():
            _check(name, option, getattr(self, name))
        _check_number("min_iou", self.min_iou, (int, float))
        if not 0 < self.min_iou < 1:
            share = f"; did you mean {self.min_iou / 100:g}?" if 1 < self.min_iou < 100 else ""
            raise InputError(f"--min-iou must be between 0 and 1, got {self.min_iou:g}{share}")
        if self.gpus_per_trial is not None:
            _check_number("gpus_per_trial", self.gpus_per_trial, (int, float))
            if not 0 < self.gpus_per_trial <= 1:
                raise InputError(
                    "--gpus-per-trial is a share of one GPU, over 0 and at most 1, got "
                    f"{self.gpus_per_trial:g}"
                )
        if self.pool not in POOLS and not re.fullmatch(r"[^\s:/]+:\d{1,5}", self.pool):
            raise InputError(
                f"--pool is one of {', '.join(POOLS)}, or the HOST:PORT of a Ray cluster, such as "
                f"10.0.0.5:6379; got {self.pool!r}"
            )
        if self.frame is not None:
            parse_frame_hw(self.frame)
        if self.storage is not None:
            check_url(self.storage)
        check_effort_rank(self.effort)
        Recipe.of(self.recipe)

    @classmethod
    def from_yaml(cls, raw: Mapping[str, Any]) -> Declaration:
        """The declaration in the content of a run.yaml, which holds other facts as well."""
        return cls(**{name: raw[name] for name in OPTIONS if name in raw})

    def begun(self) -> Declaration:
        """The declaration of a new run: limited by the default budget, unless by trials."""
        limited = self.budget is not None or self.trials is not None
        return self if limited else dataclasses.replace(self, budget=DEFAULT_BUDGET)

    def require_continues(self, before: Declaration) -> None:
        """Raises InputError where it differs from a begun run's in what must stay the same.

        A path may differ from another path: what lies there is compared when it is read.
        """
        changeable = [name for name, option in OPTIONS.items() if option.changeable]
        for name in OPTIONS:
            was, wanted = getattr(before, name), getattr(self, name)
            if name not in changeable and not _may_be_same(name, was, wanted):
                raise InputError(
                    f"the run was begun with {name}={was!r}, and --resume cannot change it to "
                    f"{wanted!r}; start a new run with another --name "
                    f"({', '.join(changeable[:-1])} and {changeable[-1]} may change)"
                )

    @property
    def constraints(self) -> Constraints:
        """As far as they are declared: a run knows the size of its frames (`constraints_of`)."""
        max_latency_ms = round(1e3 * option_s("max_latency", self.max_latency), 9)
        frame_hw = parse_frame_hw(self.frame) if self.frame else None
        return Constraints(max_latency_ms, self.min_iou, self.statistic, self.latency, frame_hw)

    @property
    def reading(self) -> Reading:
        """How the data folder is to be read."""
        from autoseg.data.dataset import Reading

        return Reading(
            format=self.format,
            remap=self.remap,
            split_column=self.split_column,
            group_column=self.group_column,
            group_pattern=self.group_pattern,
            seed=self.seed,
        )

    @property
    def budget_s(self) -> float | None:
        """Seconds, or None where only the number of trials limits the run."""
        return None if self.budget is None else option_s("budget", self.budget)

    def command(self, name: str) -> str:
        """The command line that begins the same as a run of that `name`."""
        words = ["autoseg", "optimize", "--name", name]
        usual = Declaration()
        for option, facts in OPTIONS.items():
            value = getattr(self, option)
            if value != getattr(usual, option) or facts.explicit:
                words += _words(option, value)
        return shlex.join(words)

    def resume_command(self, folder: Path, begun: Mapping[str, Any]) -> str:
        """The command line that continues the run in `folder`, which was `begun` as run.yaml says.

        Changed options must be given again: run.yaml keeps those that the run was begun with.
        """
        words = ["autoseg", "optimize", "--resume", "--name", folder.name]
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if option.changeable and value not in (None, begun.get(name)):
                words += _words(name, value)
        if folder.parent != Path("results"):
            words += ["--results", str(folder.parent)]
        return shlex.join(words)

    def to_yaml(self) -> dict[str, Any]:
        """Plain data for run.yaml."""
        return {**dataclasses.asdict(self), "recipe": dict(self.recipe)}


OPTIONS: Mapping[str, Option] = {
    each.name: each.metadata["option"] for each in dataclasses.fields(Declaration)
}


def constraints_of(declaration: Declaration, raw: Mapping[str, Any]) -> Constraints:
    """The constraints of the run whose run.yaml holds `raw`, with the size of its frames."""
    known = raw.get("frame_hw")
    constraints = declaration.constraints
    return dataclasses.replace(constraints, frame_hw=(known[0], known[1]) if known else None)


def names_path(name: str, value: Any) -> bool:
    """Whether an option's value is a path, and no name, address or function."""
    if not isinstance(value, str) or not OPTIONS[name].place:
        return False
    always, path = name in ("data", "remap"), Path(value)
    return always or len(path.parts) > 1 or path.suffix in (".yaml", ".yml", ".json")


def flag(name: str) -> str:
    """``"max_latency" -> "--max-latency"``."""
    return f"--{name.replace('_', '-')}"


def default_text(name: str) -> str:
    """The default of an option as it is shown to users; empty where there is none to show."""
    (value,) = (f.default for f in dataclasses.fields(Declaration) if f.name == name)
    plain = isinstance(value, str | int | float)
    return OPTIONS[name].default or (str(value) if plain else "")


def option_s(name: str, value: str) -> float:
    """An option's duration in seconds. Raises InputError for one without a unit."""
    return parse_duration_s(str(value), flag(name), OPTIONS[name].example)


def _words(name: str, value: Any) -> list[str]:
    """An option and its value on the command line; several values have the option each."""
    each = list(value) if isinstance(value, list | tuple) else [value]
    if isinstance(value, Mapping):
        each = [f"{key}={json.dumps(set_to)}" for key, set_to in value.items()]
    return [word for one in each for word in (flag(name), str(one))]


def _may_be_same(name: str, was: Any, wanted: Any) -> bool:
    if isinstance(was, list | tuple) and isinstance(wanted, list | tuple):
        each = zip(was, wanted, strict=False)
        return len(was) == len(wanted) and all(_may_be_same(name, *pair) for pair in each)
    return bool(was == wanted) or (names_path(name, was) and names_path(name, wanted))


def _check(name: str, option: Option, value: Any) -> None:
    if option.example and value is not None:
        option_s(name, value)
    if option.choices and value not in option.choices:
        hint = did_you_mean(str(value).lower(), option.choices)
        raise InputError(
            f"{flag(name)} is one of {', '.join(option.choices)}, got {value!r}{hint}"
        )
    if option.minimum is not None and value is not None:
        _check_number(name, value, (int,))
        if value < option.minimum:
            raise InputError(f"{flag(name)} must be at least {option.minimum}, got {value}")


def _check_number(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if isinstance(value, bool) or not isinstance(value, kinds):
        what = "a number" if float in kinds else "a whole number"
        raise InputError(f"{flag(name)} must be {what}, got {value!r}")
