"""Checks that a change keeps the search: records a small search, or compares two recorded ones.

    python scripts/compare_runs.py run FOLDER             # 20 candidates; some ten minutes
    python scripts/compare_runs.py compare FOLDER FOLDER  # exit code 1 where they differ

The latency is computed from the network, so that two recordings on one machine can be equal.
Compared are the order of the candidates and every event's figures to the last digit; times, keys,
digests, versions and the texts of messages are left out.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TRIALS, SEED = 20, 3
RECIPE = {"rungs": [1, 3, 6], "batch": 4, "warmup_steps": 10}
RENAMED = {"struck": "rejected"}  # the event's name in older ledgers
TIMED = ("outlook", "plan", "verdict", "pool")  # texts, written as often as time allows
SCORE = ("split", "source", "iou", "iou_ci95", "class_iou", "pixel_accuracy", "epoch", "decayed")


def latency_ms(onnx_file: Path) -> float:
    """From the weights and the input's size alone, so that metadata cannot change it."""
    import onnx

    graph = onnx.load(str(onnx_file)).graph
    weights = sum(math.prod(tensor.dims) for tensor in graph.initializer)
    pixels = math.prod(dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim)
    return pixels * (1 + weights / 2e4) / 1e5


def run(folder: Path) -> None:
    """Search the expert space on the synthetic parcels."""
    import autoseg

    result = autoseg.optimize(
        device=autoseg.FakeDevice(latency_ms), max_latency="1.5ms", min_iou=0.2, effort="expert",
        trials=TRIALS, workers=1, seed=SEED, recipe=RECIPE,
        results=folder.parent, name=folder.name,
    )  # fmt: skip
    print(len(result.evaluations), "candidates,", len(result.front), "on the front")


def steps(folder: Path) -> list[dict[str, Any]]:
    """The compared part of each event, with a candidate's number in the place of its key."""
    numbers: dict[str, int] = {}
    lines = (folder / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    return [dict(_facts(e, numbers)) for e in events if e["event"] not in TIMED]


def _facts(event: Mapping[str, Any], numbers: dict[str, int]) -> Iterator[tuple[str, Any]]:
    yield "event", RENAMED.get(event["event"], event["event"])
    if "key" in event:
        yield "candidate", numbers.setdefault(event["key"], len(numbers))
    if event["event"] == "proposed":
        yield "knobs", dict(_knobs(event["candidate"]))
    if "measurement" in event:
        yield "p50_ms", event["measurement"]["p50_ms"]
    if "score" in event:
        yield "score", {name: event["score"][name] for name in SCORE}
    for name in ("cost", "too_slow", "p_feasible"):
        if name in event:
            yield name, event[name]


def _knobs(candidate: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All choices of a candidate, however they are grouped."""
    for value in candidate.values():
        if isinstance(value, dict | list):
            yield from dict(value).items()


def main() -> int:
    verb, *folders = sys.argv[1:]
    if verb == "run":
        run(Path(folders[0]))
        return 0
    before, after = (steps(Path(folder)) for folder in folders)
    for number, (old, new) in enumerate(zip(before, after, strict=False)):
        if old != new:
            print(f"event {number} differs:\n  {old}\n  {new}")
            return 1
    print(f"{len(before)} and {len(after)} events, the same")
    return int(len(before) != len(after))


if __name__ == "__main__":
    sys.exit(main())
