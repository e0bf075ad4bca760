"""Writes folders of made-up runs: ledger, run.yaml, diagnostics, contact sheets."""

import json
import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from factories import make_measurement, make_score, with_frame
from PIL import Image

from autoseg.core.diagnostics import (
    Diagnostics,
    OperatorTime,
    sheet_path,
    write_diagnostics,
)
from autoseg.core.records import Candidate, Cost, DeviceInfo, Measurement
from autoseg.core.serialize import to_json
from autoseg.data.dataset import iou_of

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"quoted\" 'n' | a\nb \u2028"
)
CHOICES = {"resolution": [96, 128, 192, 256, 320], "a": [0.125, 0.25, 0.5, 1], "t": [2, 4, 6]}


@dataclass(frozen=True)
class Stage:
    """The properties of a made-up run; a `floor` over 1 leaves it without a front."""

    trials: int = 40
    front: int = 5
    floor: float = 0.9
    ceiling: str = "10ms"
    classes: tuple[str, ...] = ("background", "parcel")
    device: str = "local"
    model: str = "made up"
    diagnostics: bool = True
    finished: bool = True
    seed: int = 0
    data_digest: str = "d1"
    sheet_bytes: int = 0
    frames: bool = True


def staged(folder: Path, stage: Stage | None = None, **changed: Any) -> Path:
    """Write a run's folder and return it."""
    stage = replace(stage or Stage(), **changed)
    rng = random.Random(stage.seed)
    folder.mkdir(parents=True)
    candidates = _candidates(stage, rng)
    (folder / "run.yaml").write_text(yaml.safe_dump(_said(stage, candidates)))
    events = [*_search(stage, candidates, rng), *_finish(stage, candidates, rng)]
    lines = [json.dumps({"spent_s": round(0.5 * n, 3), **event}) for n, event in enumerate(events)]
    (folder / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    if stage.diagnostics:
        for candidate in candidates[: stage.front]:
            _write_diagnostics(folder, candidate.key, stage)
    return folder


def _candidates(stage: Stage, rng: random.Random) -> list[Candidate]:
    """The front first; the last one is the baseline."""
    found = [
        Candidate.of("toy", {"resolution": 96 + 8 * n, "a": 0.25, "t": rng.choice([2, 4, 6])})
        for n in range(stage.trials)
    ]
    return [Candidate.of("toy", {**dict(c.choices), "pp": n % 2}) for n, c in enumerate(found)]


def _said(stage: Stage, candidates: list[Candidate]) -> dict[str, Any]:
    info = DeviceInfo(
        name=stage.device, model=stage.model, runtime="onnxruntime 1.2", threads=1, provider="CPU"
    )
    return {
        "max_latency": stage.ceiling, "min_iou": stage.floor, "statistic": "p90",
        "data": "my data/it's", "device": stage.device, "effort": "expert", "space": "toy",
        "budget": "8m", "trials": None, "sampler": "autoseg", "pool": "local", "workers": 2,
        "seed": 0, "recipe": {"augment": False}, "baseline": to_json(candidates[-1]),
        "classes": list(stage.classes), "pictures": {"train": 9, "val": 3, "test": 2},
        "data_digest": stage.data_digest, "knobs": CHOICES, "measured_on": to_json(info),
        "machine": {"processor": "x86"}, "versions": {"autoseg": "0"}, "frame_hw": [480, 640],
    }  # fmt: skip


def _latency_ms(n: int, stage: Stage) -> float:
    return 1.0 + 8.0 * n / max(1, stage.front) if n < stage.front else 2.0 + 0.11 * n


def _measured(ms: float, phase: str, stage: Stage) -> Measurement:
    tail = tuple(ms * (0.9 + 0.005 * n) for n in range(41)) if phase == "confirm" else ()
    found = make_measurement(
        ms, device=stage.device, phase=phase, temperature_c=51.5, reference_ratio=1.02,
        clock_mhz=(1500.0, 1490.0), governor="ondemand", throttled=False, quantiles_ms=tail,
    )  # fmt: skip
    return with_frame(found) if stage.frames and phase == "confirm" else found


def _scored(iou: float, epoch: int, stage: Stage, split: str = "val", source: str = "torch"):
    each = tuple(max(0.0, iou - 0.001 * n) for n in range(len(stage.classes)))
    return make_score(
        iou, epoch, split=split, source=source, class_iou=each, train_s=2.0 * epoch,
        iou_of=iou_of(stage.classes),
    )  # fmt: skip


def _search(stage: Stage, candidates: list[Candidate], rng: random.Random) -> list[dict]:
    events: list[dict] = []
    ceiling = float(stage.ceiling.removesuffix("ms"))
    for n, candidate in enumerate(candidates):
        ms = _latency_ms(n, stage)
        last = candidate is candidates[-1]
        slow = ms > ceiling or last
        cost = to_json(Cost(params=1000 + n, macs=round(1e6 * ms), activation_bytes=100_000))
        measured = to_json(_measured(3 * ceiling if last else ms, "screen", stage))
        about = {"key": candidate.key}
        events += [
            {"event": "proposed", "candidate": to_json(candidate), "cost": cost, **about},
            {"event": "measured", "measurement": measured, "onnx_bytes": 5000 + n,
             "too_slow": slow, **about},
        ]  # fmt: skip
        if slow or rng.random() < (0.0 if n < stage.front else 0.4):
            continue
        top = _iou(n, stage) if n < stage.front else 0.6 + 0.25 * rng.random()
        for epoch in (3, 9, 27):
            score = to_json(_scored(top - 0.3 / epoch, epoch, stage))
            events.append({"event": "scored", "score": score, "checkpoint": "c", **about})
            if n >= stage.front and rng.random() < 0.5:
                events.append({"event": "stopped", "reason": "it cannot matter", **about})
                break
        events.append(
            {"event": "outlook", "hypervolume": 0.1 * math.log(2 + n), "horizon_s": 60.0,
             "gain_hypervolume": 0.1, "gain_iou": 0.01, "gain_iou_at_most": 0.02}
        )  # fmt: skip
    return [*events, {"event": "verdict", "lines": ["some fit"]}]


def _iou(n: int, stage: Stage) -> float:
    return 0.91 + 0.08 * n / max(1, stage.front)


def _finish(stage: Stage, candidates: list[Candidate], rng: random.Random) -> list[dict]:
    events: list[dict] = [{"event": "searched", "allowance": [480.0, None]}]
    for n, candidate in enumerate(candidates[: stage.front + 1]):
        holds = n < stage.front and _iou(n, stage) >= stage.floor
        about = {"key": candidate.key, "onnx_bytes": 5000 + n, "agreement": 1.0}
        measured = to_json(_measured(_latency_ms(n, stage), "confirm", stage))
        iou = _iou(n, stage) if n < stage.front else 0.85
        score = to_json(_scored(iou, 30, stage, source="onnx"))
        events.append(
            {"event": "confirmed" if holds else "rejected",
             "score": score, "measurement": measured,
             "p_feasible": 0.99 if holds else 0.1, "reason": None if holds else "IoU", **about}
        )  # fmt: skip
        test = to_json(_scored(iou - 0.01, 30, stage, "test", "onnx"))
        events.append({"event": "tested", "score": test, "key": candidate.key})
    return [*events, {"event": "finished"}] if stage.finished else events


def _write_diagnostics(folder: Path, key: str, stage: Stage) -> None:
    size = len(stage.classes)
    confusion = tuple(
        tuple(9000 if i == j else 10 * (i + j) for j in range(size)) for i in range(size)
    )
    operators = (
        OperatorTime(op="Conv", nodes=20, ms=0.8),
        OperatorTime(op="Resize", nodes=2, ms=0.1),
    )
    write_diagnostics(
        folder, key, Diagnostics(onnx_digest="d", confusion=confusion, operators=operators)
    )
    noise = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    path = sheet_path(folder, key)
    Image.fromarray(noise).resize((640, 360)).save(path, quality=80)
    if stage.sheet_bytes:
        # A comment's worth of bytes behind the end of the picture.
        path.write_bytes(path.read_bytes().ljust(stage.sheet_bytes, b"\0"))
