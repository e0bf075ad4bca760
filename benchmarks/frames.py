"""Model and frame latency of the fronts of finished runs, and the resizes' share of a frame.

    python benchmarks/frames.py results/RUN... --out frames

Every figure is of the confirming measurement of a model on its run's device: p50 and p90 of the
model alone and of a whole frame (resize, model, resize of the class map to the frame's size), and
the medians of the parts of a frame. The share is that of both resizes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import REFERENCE, ROOT, command, commit_of, facts, run_command, table, write_csv

from autoseg.core.records import Measurement
from autoseg.core.units import size_text
from autoseg.run.result import Result
from autoseg.run.store import read_declaration


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", required=True, help="a name in results/reference")
    arguments = parser.parse_args()
    rows = [row for run in arguments.runs for row in rows_of(Result.from_run(run))]
    commands = [run_command(read_declaration(run)) for run in arguments.runs]
    lines = ["# Model and frame latency of whole fronts", "", f"- command: `{command()}`"]
    lines += [*facts(), f"- code: {commit_of(ROOT)}", *(f"- run: `{each}`" for each in commands)]
    lines += ["", *table(rows), "", slower(rows), "", *str(__doc__).split("\n\n")[2:]]
    (REFERENCE / f"{arguments.out}.md").write_text("\n".join(lines))
    write_csv(REFERENCE / f"{arguments.out}.csv", rows)
    print("\n".join(lines))


def rows_of(result: Result) -> Iterator[dict[str, Any]]:
    """One row for each model of the front whose frames were timed."""
    for evaluation in result.front:
        timed = evaluation.measurement
        if timed is None or timed.frame is None:
            continue
        parts, input_hw = timed.frame, evaluation.candidate.input_hw
        whole = parts.resizes_ms + parts.inference_ms
        yield {
            "device": timed.device,
            "frame": size_text(parts.hw),
            "input": size_text(input_hw),
            **both(timed),
            "resize": f"{parts.resize_ms:.3g}",
            "model in it": f"{parts.inference_ms:.3g}",
            "resize back": f"{parts.resize_back_ms:.3g}",
            "resizes": f"{100 * parts.resizes_ms / whole:.0f} %",
            "IoU": f"{evaluation.iou or 0:.4f}",
        }


def both(timed: Measurement) -> dict[str, str]:
    cells = {}
    for latency in ("model", "frame"):
        times = timed.times(latency)
        figures = (times.p50_ms, times.p90_ms) if times else (None, None)
        for name, ms in zip(("p50", "p90"), figures, strict=True):
            cells[f"{latency} {name} ms"] = "" if ms is None else f"{ms:.3g}"
    return cells


def slower(rows: list[dict[str, Any]]) -> str:
    """How much longer the model takes within a frame, by device."""
    parts = []
    for device in dict.fromkeys(row["device"] for row in rows):
        own = [row for row in rows if row["device"] == device and row["model p50 ms"]]
        each = [float(row["model in it"]) / float(row["model p50 ms"]) for row in own]
        median = statistics.median(each)
        parts.append(f"{device} {median:.2f} ({min(each):.2f} to {max(each):.2f})")
    return f"The model within a frame over the model alone, median (range): {'; '.join(parts)}."


if __name__ == "__main__":
    main()
