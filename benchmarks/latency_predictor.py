"""How well latencies are predicted from some measured networks, beside MACs alone.

    python benchmarks/latency_predictor.py [--out latency-predictor]

Reads the tables of measured latencies under results/reference, and what whole runs measured. Of
each, random rows are fitted and the others predicted, in 20 draws; the figures are means over the
draws. "leave-one-out" is what autoseg says of the same fit without knowing the others. The figures
that the predictor uses were chosen on the small space and on every second row of fast_scnn, how
rows are doubted on all of fast_scnn, by how much intervals are widened on all tables. The runs'
rows took no part in any choice but this last one.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parent)]
from common import REFERENCE, command, facts, read_csv, table  # noqa: E402

from autoseg.core.records import Candidate, Cost  # noqa: E402
from autoseg.core.serialize import from_json  # noqa: E402
from autoseg.core.units import HW, parse_hw  # noqa: E402
from autoseg.networks.cost import cost  # noqa: E402
from autoseg.networks.space import SearchSpace  # noqa: E402
from autoseg.networks.space_file import load_space  # noqa: E402
from autoseg.search.latency import LatencyModel, rank_correlation  # noqa: E402
from autoseg.train.task import build_candidate  # noqa: E402

TABLES = {
    "latency-fast-scnn": "fast_scnn, x86",
    "table-packages-latency": "small space, x86",
    "table-camvid-latency": "small space of camvid, x86",
    "table-packages-emulated": "small space, emulated board",
}
RUNS = {
    "packages": "fast_scnn, x86, all that a run measured",
    "emulated-board": "fast_scnn, emulated board, all that a run measured",
}
FITTED = (12, 28, 50)
DRAWS = 20
Row = tuple[Cost, HW, float]


def main() -> None:
    arguments = parse()
    lines: list[str] = []
    for names, reader in ((TABLES, read), (RUNS, read_run)):
        for name, label in names.items():
            rows = reader(REFERENCE / f"{name}.csv")
            lines += section(f"{label}: {len(rows)} networks (`{name}.csv`)", {"all": rows})
    halves = read(REFERENCE / "latency-fast-scnn.csv")
    text = "fast_scnn, x86: the rows that the figures were chosen on, and the others"
    lines += section(text, {"chosen on": halves[::2], "others": halves[1::2]})
    lines += seconds(halves)
    print("\n".join(lines))
    if arguments.out:
        text = (__doc__ or "").split("\n\n")
        head = ["# " + text[0].strip(), "", *text[2].strip().split("\n"), ""]
        said = [*facts(), f"- command: `{command()}`", f"- draws: {DRAWS}, seeds 0 to {DRAWS - 1}"]
        path = REFERENCE / f"{arguments.out}.md"
        path.write_text("\n".join([*head, *said, *lines, ""]))


def section(title: str, parts: Mapping[str, Sequence[Row]]) -> list[str]:
    rows: list[dict[str, Any]] = []
    for part, measured in parts.items():
        for fitted in FITTED:
            if fitted > 0.75 * len(measured):
                continue
            about = {"rows": part, "fitted": fitted, "predicted": len(measured) - fitted}
            rows.append({**about, "with": "autoseg", **mean(drawn(measured, fitted, ours))})
            rows.append({**about, "with": "MACs", **mean(drawn(measured, fitted, macs_alone))})
    return ["", f"## {title}", "", *table(rows)]


def drawn(rows: Sequence[Row], fitted: int, predictor: Any) -> list[dict[str, float]]:
    """The figures of each draw."""
    found = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(rows))
        known, others = ([rows[i] for i in part] for part in (order[:fitted], order[fitted:]))
        found.append(predictor(known, others))
    return found


def ours(known: Sequence[Row], others: Sequence[Row]) -> dict[str, float]:
    model = LatencyModel.fit(known)
    assert model is not None
    expected, sd = model.predict([c for c, _, _ in others], [hw for _, hw, _ in others])
    truth = np.log([ms for _, _, ms in others])
    off = np.abs(expected - truth) / sd
    said = model.leave_one_out()
    return {
        **errors(expected, truth),
        "in 80 %": float(np.mean(off < 1.2816)),
        "in 95 %": float(np.mean(off < 1.96)),
        "leave-one-out: median": said.median_error,
        "mean": said.mean_error,
        "rank": said.rank_correlation,
    }


def macs_alone(known: Sequence[Row], others: Sequence[Row]) -> dict[str, float]:
    """A line through log latency over log MACs."""
    slope, offset = np.polyfit(
        [math.log(c.macs) for c, _, _ in known], [math.log(ms) for _, _, ms in known], 1
    )
    expected = np.array([offset + slope * math.log(c.macs) for c, _, _ in others])
    return errors(expected, np.log([ms for _, _, ms in others]))


def errors(expected: Any, truth: Any) -> dict[str, float]:
    share = np.abs(np.expm1(expected - truth))
    return {
        "median error": float(np.median(share)),
        "mean error": float(np.mean(share)),
        "rank correlation": rank_correlation(expected, truth),
    }


def mean(found: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Means over the draws as text: errors and shares in percent."""
    means = {name: float(np.mean([each[name] for each in found])) for name in found[0]}
    said = {n: f"{v:.4f}" if "rank" in n else f"{100 * v:.1f} %" for n, v in means.items()}
    empty = ("in 80 %", "in 95 %", "leave-one-out: median", "mean", "rank")
    return said | {name: "" for name in empty if name not in said}


def seconds(rows: Sequence[Row]) -> list[str]:
    """How long fitting and predicting take, by the median of some repetitions."""
    many = (list(rows) * 10)[:1300]
    costs, sizes = [c for c, _, _ in many], [hw for _, hw, _ in many]
    timed = []
    for fitted in (28, 60, 300):
        known = (list(rows) * 3)[:fitted]
        model = LatencyModel.fit(known)
        assert model is not None
        fit_s = [clocked(lambda known=known: LatencyModel.fit(known)) for _ in range(5)]
        predict_s = [clocked(lambda m=model: m.predict(costs, sizes)) for _ in range(5)]
        timed.append({
            "rows": fitted, "fit ms": f"{1e3 * np.median(fit_s):.0f}",
            "predict 1,300 ms": f"{1e3 * np.median(predict_s):.0f}",
        })  # fmt: skip
    return ["", "## Time", "", *table(timed)]


def clocked(what: Any) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def read(path: Path) -> list[Row]:
    return [row_of(row) for row in read_csv(path)]


def row_of(row: Mapping[str, str]) -> Row:
    counted: dict[str, Any] = {}
    columns = list(row)
    for name in columns[columns.index("params") :]:
        kind, _, figure = name.rpartition(".")
        (counted.setdefault(kind, {}) if kind else counted)[figure] = int(row[name])
    return from_json(Cost, counted), parse_hw(row["resolution"]), float(row["p50_ms"])


def read_run(path: Path) -> list[Row]:
    """What a run measured; its networks are counted again."""
    space = load_space("fast_scnn")
    measured = [row for row in read_csv(path) if row["latency_p50_ms"]]
    rows = []
    for row in measured:
        candidate = space.candidate(**{k.name: number(row[k.name]) for k in space.knobs})
        counted = [counted_with(space, candidate, step) for step in (1, 8)]
        found = next(c for c in counted if c.params == int(row["params"]))
        rows.append((found, candidate.input_hw, float(row["latency_p50_ms"])))
    return rows


def counted_with(space: SearchSpace, candidate: Candidate, step: int) -> Cost:
    with torch.device("meta"):  # shapes are enough
        return cost(build_candidate(space, candidate, 1, step), candidate.input_hw)


def number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", help="of the table in results/reference")
    return parser.parse_args()


if __name__ == "__main__":
    main()
