"""Time every candidate of a space untrained, or a sample of them, and keep the figures in a table.

    python benchmarks/tabular/measure_table.py NAME --space FILE|NAME [--device NAME|FILE]
        [--sample N --seed S] [--again]

Each call measures what results/reference/NAME.csv lacks; it can be stopped and called again.
`--again` repeats what other programs disturbed, and keeps the faster of the two: they only ever
make it slower. A candidate is exported with random weights for a binary data set and screened as
a run does, without a ceiling. `measure_s` are the wall seconds of export and timing. What a
network costs is counted anew at each call, so that the table follows `autoseg.cost`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import REFERENCE, read_csv, write_csv

if TYPE_CHECKING:
    from autoseg.core.records import Candidate
    from autoseg.device import Device
    from autoseg.networks.space import SearchSpace

OUTPUTS = 1  # of a binary data set
STEP = 8  # multiple of the channels, as on this machine by default
NO_CEILING_MS = 1e9
FIGURES = (
    "key", "knobs", "resolution", "p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "runs",
    "measure_s", "flags",
)  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    from autoseg.core.errors import CandidateError
    from autoseg.device import resolve
    from autoseg.networks.space_file import load_space

    arguments = parse()
    space = load_space(arguments.space)
    candidates = {c.key: c for c in space.candidates("expert")}
    path = REFERENCE / f"{arguments.name}.csv"
    rows = [row | costs(space, candidates[row["key"]]) for row in read_rows(path)]
    write_csv(path, rows, [*rows[0]] if rows else FIGURES)
    calm = {row["key"] for row in rows if not (arguments.again and disturbed(row))}
    wanted = [c for c in chosen(list(candidates.values()), arguments) if c.key not in calm]
    print(f"{len(wanted)} candidates to measure", flush=True)
    bench, started = Bench(space, resolve(arguments.device)), time.monotonic()
    table = {row["key"]: row for row in rows}
    try:
        for done, candidate in enumerate(wanted, start=1):
            try:
                row = bench.measured(candidate)
            except CandidateError as error:
                print(f"{candidate}: {error}", flush=True)
                continue
            table[candidate.key] = min(table.get(candidate.key, row), row, key=p50_ms)
            write_csv(path, list(table.values()))
            left_s = (time.monotonic() - started) / done * (len(wanted) - done)
            said = f"{row['p50_ms']} ms, {left_s / 60:.1f} min to go {row['flags']}"
            print(f"{done}/{len(wanted)} {candidate}: {said}", flush=True)
    finally:
        bench.device.close()


def disturbed(row: Row) -> bool:
    """Whether others took its core or slowed the reference, or its median is not known to 10 %."""
    width_ms = float(row["p50_high_ms"]) - float(row["p50_low_ms"])
    said = any(word in row["flags"] for word in ("disturbed", "reference"))
    return said or width_ms > 0.1 * p50_ms(row)


def p50_ms(row: Row) -> float:
    return float(row["p50_ms"])


def chosen(candidates: list[Candidate], arguments: argparse.Namespace) -> list[Candidate]:
    """A sample in a seeded shuffle, of which a smaller one is the beginning; or all."""
    shuffled = np.random.default_rng(arguments.seed).permutation(len(candidates))
    return [candidates[int(i)] for i in shuffled[: arguments.sample or None]]


@dataclass(frozen=True)
class Bench:
    """Where candidates are timed."""

    space: SearchSpace
    device: Device

    def measured(self, candidate: Candidate) -> Row:
        """The figures of one candidate. Raises CandidateError."""
        from autoseg.core.records import Constraints, MeasurePlan
        from autoseg.export.to_onnx import export
        from autoseg.networks.space import channels_of
        from autoseg.train.task import build_candidate

        plan = MeasurePlan.screen(Constraints(NO_CEILING_MS, 0.5))
        self.device.describe()  # connecting is nobody's seconds
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            net = build_candidate(self.space, candidate, OUTPUTS, STEP)
            exported = export(
                net, Path(folder, "model.onnx"), input_hw=candidate.input_hw,
                channels=channels_of(candidate), classes=OUTPUTS, metadata={},
            )  # fmt: skip
            found = self.device.measure(exported.path, plan)
        low, high = found.p50_ci_ms
        figures = (
            candidate.key, candidate, candidate["resolution"], f"{found.p50_ms:.5g}",
            f"{low:.5g}", f"{high:.5g}", f"{found.p90_ms:.5g}" if found.p90_ms else "",
            found.runs, f"{time.monotonic() - started:.2f}", "; ".join(found.flags),
        )  # fmt: skip
        row = dict(zip(FIGURES, map(str, figures), strict=True))
        return row | costs(self.space, candidate)


def costs(space: SearchSpace, candidate: Candidate) -> Row:
    """What the network is counted to cost, a column for each figure."""
    import torch

    from autoseg.core.serialize import to_json
    from autoseg.networks.cost import cost
    from autoseg.train.task import build_candidate

    with torch.device("meta"):  # shapes are enough
        net = build_candidate(space, candidate, OUTPUTS, STEP)
    return flat(to_json(cost(net, candidate.input_hw)))


def flat(figures: dict[str, Any], before: str = "") -> Row:
    """Records within records as names with dots."""
    row: Row = {}
    for name, value in figures.items():
        inner = isinstance(value, dict)
        row |= flat(value, f"{before}{name}.") if inner else {before + name: value}
    return row


def read_rows(path: Path) -> list[Row]:
    return [{name: row[name] for name in FIGURES} for row in read_csv(path)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", help="of the table in results/reference")
    parser.add_argument("--space", type=name_or_file, required=True)
    parser.add_argument("--device", type=name_or_file, default="local")
    parser.add_argument("--sample", type=int, help="how many candidates; all by default")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--again", action="store_true", help="repeat what was disturbed")
    return parser.parse_args()


def name_or_file(text: str) -> str | Path:
    return Path(text) if Path(text).is_file() else text


if __name__ == "__main__":
    main()
