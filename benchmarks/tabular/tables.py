"""Tables of whole spaces: what a search would find of each candidate, known beforehand.

`load("packages")` reads results/reference/table-packages.csv; `load("…/fastscnn_rpi4.csv")` reads
the table that the thesis published.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import REFERENCE

from autoseg.core.errors import CandidateError
from autoseg.core.pareto import Point, front, hypervolume
from autoseg.core.records import Candidate, Constraints, Cost
from autoseg.networks.space import SearchSpace, normal_choice
from autoseg.networks.space_file import load_space
from autoseg.search.training_time import TrainingTime
from autoseg.train.recipe import Recipe

HERE = Path(__file__).parent
STEP = 8  # multiple of the channels that the tables were trained with
# What the prior price of a training needs to know of the data: outputs, pictures of one epoch.
DATA = {"packages": (1, 300), "camvid": (11, 367)}
THESIS_EPOCHS, THESIS_PICTURES = 400, 300
MEASURE_S = 1.5  # building, exporting and timing one untrained network, where no table says it
TWICE = 8  # candidates trained twice, from which on the noise is theirs
NOISE = {1: 0.12, 3: 0.06}  # of the log error where fewer were, by rung
LATE_NOISE = 0.03  # at all later rungs, and after a decay
SHARED = 0.5  # of the variance: what all scores of one training have in common


@dataclass(frozen=True)
class Cell:
    """What one training job gave: IoU on val with its 95 % interval, and its own seconds."""

    iou: float
    iou_ci95: tuple[float, float]
    train_s: float

    def at(self, iou: float) -> Cell:
        """The same with another IoU; the interval goes along."""
        low, high = (end + iou - self.iou for end in self.iou_ci95)
        return replace(self, iou=iou, iou_ci95=(low, high))


@dataclass(frozen=True)
class Entry:
    """One candidate: `cells` by seed and by (rung, whether it is the branch that decays there)."""

    candidate: Candidate
    cost: Cost
    latency_ms: float
    measure_s: float
    cells: Mapping[int, Mapping[tuple[int, bool], Cell]]

    def cell(self, rung: int, *, decayed: bool, seed: int = 0) -> Cell:
        return self.cells[seed][rung, decayed]


@dataclass(frozen=True)
class TabularSpace(SearchSpace):
    """A space of which only the candidates of a table may be looked at."""

    known: tuple[Candidate, ...] = ()

    def count(self, effort: str) -> int:
        return len(self.known)

    def candidates(self, effort: str) -> Iterator[Candidate]:
        yield from self.known


@dataclass(frozen=True)
class TabularTrainingTime(TrainingTime):
    """Costs come from the table, counted once; what is not in it cannot be built."""

    costs: Mapping[str, Cost] | None = None

    def cost(self, candidate: Candidate) -> Cost:
        if self.costs is None or candidate.key not in self.costs:
            raise CandidateError(f"{candidate} is not in the table")
        return self.costs[candidate.key]


@dataclass(frozen=True)
class Table:
    """A space with everything known; `latencies` says where those came from."""

    name: str
    space: TabularSpace
    recipe: Recipe
    entries: Mapping[str, Entry]
    outputs: int
    pictures: int
    latencies: str

    @property
    def top(self) -> int:
        return self.recipe.rungs[-1]

    @cached_property
    def costs(self) -> dict[str, Cost]:
        return {key: entry.cost for key, entry in self.entries.items()}

    @cached_property
    def total_s(self) -> float:
        """Seconds of training everything to the top, without the decays."""
        return sum(self.train_s(key) for key in self.entries)

    def train_s(self, key: str, to: int | None = None) -> float:
        """Seconds of training one candidate from nothing up to a rung, without decays."""
        rungs = [rung for rung in self.recipe.rungs if rung <= (to or self.top)]
        return sum(self.entries[key].cell(rung, decayed=False).train_s for rung in rungs)

    @property
    def training_time(self) -> TabularTrainingTime:
        return TabularTrainingTime(
            space=self.space, recipe=self.recipe, outputs=self.outputs, pictures=self.pictures,
            channel_step=STEP, costs=self.costs,
        )  # fmt: skip

    def point(self, key: str, rung: int | None = None) -> Point:
        """Latency in ms and IoU after the decay at a rung, the top one if none is named."""
        entry = self.entries[key]
        return entry.latency_ms, entry.cell(rung or self.top, decayed=True).iou

    def front_keys(self, constraints: Constraints) -> list[str]:
        """The candidates of the exhaustive front inside the constraints, fastest first."""
        able = [
            key
            for key in self.entries
            if (at := self.point(key))[0] < constraints.max_latency_ms
            and at[1] > constraints.min_iou
        ]
        return [able[i] for i in front([self.point(key) for key in able])]

    def full(self, constraints: Constraints) -> float:
        """The hypervolume of the exhaustive front."""
        return hypervolume([self.point(key) for key in self.front_keys(constraints)], constraints)

    def latency_at(self, share: float) -> float:
        """The latency in ms that this share of the candidates stays under."""
        return float(np.quantile([e.latency_ms for e in self.entries.values()], share))

    def drawn(self, seed: int) -> Table:
        """Another world as likely as this: every candidate as another training might leave it.

        Each score's log error moves by the noise of its rung, in part together with the others of
        its candidate. So searches differ by seed where a method draws no random numbers.
        """
        rng, noise = np.random.default_rng(seed), self.noise
        together = SHARED if len(self.recipe.rungs) > 1 else 1.0
        entries = {}
        for key in sorted(self.entries):
            entry, all_of_it = self.entries[key], math.sqrt(together) * rng.normal()
            cells = {}
            for at, cell in entry.cells[0].items():
                off = noise[at] * (all_of_it + math.sqrt(1 - together) * rng.normal())
                cells[at] = cell.at(max(0.0, 1 - (1 - cell.iou) * math.exp(off)))
            entries[key] = replace(entry, cells={0: cells})
        return replace(self, entries=entries)

    @cached_property
    def noise(self) -> dict[tuple[int, bool], float]:
        """Standard deviation of the log error of one training, by rung and whether it decays."""
        twice = self.twice
        found = {}
        for at in ((rung, decayed) for rung in self.recipe.rungs for decayed in (False, True)):
            apart = [
                math.log((1 - entry.cells[1][at].iou) / (1 - entry.cells[0][at].iou))
                for entry in twice
            ]
            constant = LATE_NOISE if at[1] else NOISE.get(at[0], LATE_NOISE)
            # Of two draws the difference is sqrt(2) as wide as each.
            rms = math.sqrt(sum(x * x for x in apart) / max(len(apart), 1) / 2)
            found[at] = rms if len(apart) >= TWICE else constant
        return found

    @cached_property
    def twice(self) -> list[Entry]:
        """What was trained with a second seed."""
        return [entry for entry in self.entries.values() if {0, 1} <= set(entry.cells)]

    def certain(self) -> Table:
        """The same where a score is the truth: its interval has no width."""

        def sure(cell: Cell) -> Cell:
            return replace(cell, iou_ci95=(cell.iou, cell.iou))

        entries = {
            key: replace(
                entry,
                cells={
                    seed: {at: sure(cell) for at, cell in cells.items()}
                    for seed, cells in entry.cells.items()
                },
            )
            for key, entry in self.entries.items()
        }
        return replace(self, entries=entries)

    def feasible(self, constraints: Constraints) -> float:
        """The share of the candidates that meet both constraints."""
        points = [self.point(key) for key in self.entries]
        met = [m <= constraints.max_latency_ms and i >= constraints.min_iou for m, i in points]
        return sum(met) / len(met)


def load(name_or_path: str | Path) -> Table:
    """A table by its name in results/reference, or the thesis' by its path."""
    if str(name_or_path).endswith(".csv"):
        return thesis(Path(name_or_path))
    return trained(str(name_or_path))


# -- tables of train_table.py


def trained(name: str, path: Path | None = None) -> Table:
    """The rows of train_table.py, with the latencies of NAME-latency.csv."""
    path = path or REFERENCE / f"table-{name}.csv"
    rows = read(path)
    space, by_key = _space_of({row["key"] for row in rows})
    outputs, pictures = DATA.get(name, (1, 300))
    cells = _cells(rows)
    rungs = tuple(sorted({rung for rung, decayed in cells[rows[0]["key"]][0] if not decayed}))
    known = [c for key, c in by_key.items() if 0 in cells[key]]
    recipe = replace(Recipe(), rungs=rungs)
    counted = TrainingTime(
        space=space, recipe=recipe, outputs=outputs, pictures=pictures,
        channel_step=STEP,
    )  # fmt: skip
    costs = {c.key: counted.cost(c) for c in known}
    measured = _measured(path.with_name(f"{path.stem}-latency.csv"))
    if missing := sorted(set(costs) - set(measured)):
        raise SystemExit(
            f"{path.stem}-latency.csv lacks {len(missing)} of {len(costs)} candidates, such as "
            f"{missing[0]}: benchmarks/tabular/measure_table.py measures them"
        )
    entries = {c.key: Entry(c, costs[c.key], *measured[c.key], cells[c.key]) for c in known}
    return Table(name, _only(space, known), recipe, entries, outputs, pictures, "measured")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _space_of(keys: set[str]) -> tuple[SearchSpace, dict[str, Candidate]]:
    """The space beside this file that has these candidates."""
    for file in sorted(HERE.glob("*.yaml")):
        space = load_space(file)
        by_key = {c.key: c for c in space.candidates("expert") if c.key in keys}
        if len(by_key) == len(keys):
            return space, by_key
    raise SystemExit(f"no space in {HERE} has all of these candidates: {', '.join(sorted(keys))}")


def _cells(
    rows: Sequence[Mapping[str, str]],
) -> dict[str, dict[int, dict[tuple[int, bool], Cell]]]:
    """By key and seed; a row of a decay is entered under the rung that it branches from."""
    found: dict[str, dict[int, dict[tuple[int, bool], Cell]]] = {}
    for row in rows:
        cells = found.setdefault(row["key"], {}).setdefault(int(row["seed"]), {})
        decayed = row["decayed"] == "1"
        epoch = int(row["epoch"])
        # A decay's row stands right after that of its rung.
        rung = max(r for r, d in cells if not d) if decayed else epoch
        interval = float(row["iou_low"]), float(row["iou_high"])
        cells[rung, decayed] = Cell(float(row["iou"]), interval, float(row["train_s"]))
    return found


def _measured(path: Path) -> dict[str, tuple[float, float]]:
    """By key: median latency in ms, and the seconds that finding it took."""
    rows = read(path) if path.exists() else []
    return {row["key"]: (float(row["p50_ms"]), float(row["measure_s"])) for row in rows}


def _only(space: SearchSpace, known: Sequence[Candidate]) -> TabularSpace:
    baseline = space.baseline
    if baseline not in known:  # of a table that is still growing
        baseline = max(known, key=lambda c: math.prod(c.input_hw))
    knobs = tuple(replace(knob, baseline=baseline[knob.name]) for knob in space.knobs)
    return TabularSpace(space.name, space.network, knobs, {}, tuple(known))


# -- the thesis' table of a Raspberry Pi 4


def thesis(path: Path) -> Table:
    """Retrained networks of `fastscnn_rpi4.csv`: one rung of 400 epochs.

    Of those that the thesis trained twice the second is another seed. It names no intervals and no
    seconds of training: the seconds are those that a search expects before it has seen any, from
    activation bytes; its IoU counts as decayed or not.
    """
    shipped = load_space("fast_scnn")
    rows: dict[Candidate, list[dict[str, str]]] = {}
    for row in read(path):
        if row["retrained"] == "True":
            said = {k.name: normal_choice(k.name, float(row[k.name])) for k in shipped.knobs}
            rows.setdefault(shipped.candidate(**said), []).append(row)
    recipe = replace(Recipe(), rungs=(THESIS_EPOCHS,))
    counted = TrainingTime(space=shipped, recipe=recipe, outputs=1, pictures=THESIS_PICTURES)
    entries = {}
    for candidate, trainings in rows.items():
        cost, seconds = counted.cost(candidate), THESIS_EPOCHS * counted.epoch_s(candidate, {})
        cells = {}
        for seed, row in enumerate(trainings):
            cell = Cell(float(row["iou"]), (float(row["iou"]),) * 2, seconds)
            cells[seed] = {(THESIS_EPOCHS, decayed): cell for decayed in (False, True)}
        latency_ms = 1e3 * float(trainings[0]["latency_s"])
        entries[candidate.key] = Entry(candidate, cost, latency_ms, MEASURE_S, cells)
    return Table(
        "thesis", _only(shipped, list(rows)), recipe, entries, 1, THESIS_PICTURES, "published"
    )
