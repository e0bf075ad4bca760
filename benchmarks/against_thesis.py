"""One run of ours beside the thesis' 76 trained models: both fronts in one table and picture.

    python benchmarks/against_thesis.py RUN --models thesis_models_x86.csv --data DIR --out NAME

RUN is a finished run on the same pictures and split. The published architectures (exact widths)
and the models that the run confirmed are timed in the same sitting as the same form of graph, in
rounds through all of them; rounds that were timed already are kept beside the run. IoU is one
confusion matrix over the test pictures, each class map resized (nearest) to its picture: the
table's `iou_dataset`, and computed here anew for ours. --data is the run's own unless given.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import (
    REFERENCE,
    ROOT,
    append_csv,
    command,
    commit_of,
    facts,
    read_csv,
    run_command,
    write_csv,
)
from front_plots import Series, fronts_png
from PIL import Image
from thesis_tables import (
    KNOBS,
    Model,
    Row,
    costs,
    fronts_table,
    how,
    medians,
    name_of,
    of,
    points_of,
    summary,
)

from autoseg.core.records import MeasurePlan
from autoseg.run.result import Result

BASELINE = {"resolution": 512, "a": 1.0, "t": 6, "r": 3, "pp": 1}
PLAN = MeasurePlan(
    phase="screen", statistic="p50", min_runs=40, max_runs=400, min_s=0.4, max_s=0.8
)
TIMINGS = ("model", "round", "sitting", "p50_ms", "p90_ms", "min_ms", "runs", "ratio", "flags")


def main() -> None:
    arguments = parse()
    result = Result.from_run(arguments.run)
    said = yaml.safe_load((arguments.run / "run.yaml").read_text())
    place = arguments.run / "against-thesis"
    place.mkdir(exist_ok=True)
    theirs = published(arguments.models)
    ours = confirmed(result, arguments.data or Path(said["data"]))
    baseline = Model("baseline", name_of(BASELINE), BASELINE)
    models = [*theirs, *ours]
    if baseline.key not in {model.key for model in models}:
        models.append(baseline)
    files = {model.key: exported(model, place, result) for model in models}
    rows = timed(files, place / "timings.csv", arguments.rounds)
    points = [row for model in models for row in points_of(model, rows)]
    lines = [f"# {arguments.title}", "", *about(result, said, rows), ""]
    lines += [*summary(points, medians(rows, baseline.key)[0]), ""]
    lines += [*fronts_table(points), "", *costs(result, theirs), "", *how(rows)]
    write(arguments.out, lines, points)
    print("\n".join(lines))


def published(path: Path) -> list[Model]:
    """The thesis' models, one for each architecture. Two trainings of it are two IoUs."""
    found: dict[str, Model] = {}
    for row in read_csv(path):
        texts = {**row, "resolution": row["res"]}
        knobs = {name: kind(texts[name]) for name, kind in KNOBS}
        key, before = name_of(knobs), found.get(name_of(knobs))
        ious = (*(before.ious if before else ()), float(row["iou_dataset"]))
        found[key] = Model("thesis", key, knobs, ious, shipped=True)
    return list(found.values())


def confirmed(result: Result, data: Path) -> list[Model]:
    """What the run confirmed, with the IoU of the files on the test pictures."""
    pictures = test_pictures(data, result)
    front = {evaluation.candidate.key for evaluation in result.front}
    models = []
    for evaluation in (e for e in result.evaluations if e.state == "confirmed"):
        candidate, score = evaluation.candidate, evaluation.score("test")
        iou = dataset_iou(result.files / "artifacts" / f"{candidate.key}.onnx", pictures)
        if score is None or abs(score.iou - iou) > 1e-6:
            raise SystemExit(
                f"{candidate.key}: IoU {iou:.6f} on these test pictures, but the run says "
                f"{score.iou if score else 'nothing'}: was it made on other data?"
            )
        low, high = score.iou_ci95
        val = f"val {evaluation.iou:.4f}, test 95 % {low:.4f} to {high:.4f}"
        knobs = dict(candidate.choices)
        models.append(Model("autoseg", candidate.key, knobs, (iou,), candidate.key in front, val))
    if not models:
        raise SystemExit(f"{result.folder} has no confirmed model to compare")
    return models


def test_pictures(data: Path, result: Result) -> list[tuple[Path, Path]]:
    """Pairs of picture and mask of test, as the run split them."""
    from autoseg.data import load

    dataset = load(data, result.declaration.reading)
    return [(Path(sample.image), Path(sample.mask)) for sample in dataset.splits["test"]]


def dataset_iou(onnx: Path, pictures: Sequence[tuple[Path, Path]]) -> float:
    """Foreground IoU by the definition itself: one intersection over one union."""
    from autoseg.data.resize import resize_frame
    from autoseg.device.session import class_map, open_session

    session = open_session(onnx)
    height, width, channels = session.get_inputs()[0].shape[1:]
    both = either = 0
    for picture, mask in pictures:
        frame = resize_frame(
            np.asarray(Image.open(picture).convert("RGB")), (height, width), channels
        )
        truth = np.asarray(Image.open(mask)) > 0
        found = Image.fromarray(class_map(session, frame))
        whole = found.resize(truth.shape[::-1], Image.Resampling.NEAREST)
        guess = np.asarray(whole) > 0
        both += int((guess & truth).sum())
        either += int((guess | truth).sum())
    return both / either


def exported(model: Model, place: Path, result: Result) -> Path:
    """The shipped graph: ours as confirmed, theirs with random weights and exact widths."""
    import torch

    from autoseg.export.to_onnx import export
    from autoseg.networks import build

    if model.who == "autoseg":
        return result.files / "artifacts" / f"{model.key}.onnx"
    path = place / f"{model.key}.onnx"
    if not path.exists():
        torch.manual_seed(0)
        widths = {name: value for name, value in model.knobs.items() if name != "resolution"}
        net = build("fast_scnn", channels=3, classes=1, round_to=1, **widths)
        side = int(model.knobs["resolution"])
        export(net, path, input_hw=(side, side), channels=3, classes=1, metadata={})
    return path


def timed(files: Mapping[str, Path], path: Path, rounds: int) -> list[dict[str, str]]:
    """Each model once a round, in another order each time; what `path` holds is kept."""
    from autoseg.device import resolve

    rows = read_csv(path)
    done = {(row["model"], int(row["round"])) for row in rows}
    sitting = datetime.now(UTC).isoformat(timespec="seconds")
    device, names = resolve("local"), list(files)
    for number in range(rounds):
        order = [names[i] for i in np.random.default_rng(number).permutation(len(names))]
        for name in (n for n in order if (n, number) not in done):
            m = device.measure(files[name], PLAN)
            figures = (m.p50_ms, m.p90_ms or m.p50_ms, m.min_ms, m.runs, m.reference_ratio)
            texts = map(str, (name, number, sitting, *figures, "; ".join(m.flags)))
            rows.append(dict(zip(TIMINGS, texts, strict=True)))
            append_csv(path, rows[-1:])
        print(f"round {number + 1} of {rounds}: {len(names)} models", file=sys.stderr)
    device.close()
    return [row for row in rows if row["model"] in files]


def about(result: Result, said: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Commands, machine, versions, seed, and when it was timed."""
    sittings = sorted({row["sitting"] for row in rows})
    counts = ", ".join(f"{count} {split}" for split, count in said["pictures"].items())
    return [
        f"- run: `{run_command(said)}`, seed {said['seed']}; {result.spent_s:.0f} s",
        f"- then: `{command()}`",
        *facts(),
        f"- onnxruntime {said['versions']['onnxruntime']}; code: {commit_of(ROOT)}",
        f"- pictures: {counts}; timed in {len(sittings)} sitting(s) from {sittings[0]}",
    ]


def write(name: Path, lines: Sequence[str], points: Sequence[Row]) -> None:
    path = REFERENCE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text("\n".join([*lines, ""]))
    write_csv(path.with_suffix(".csv"), points)
    theirs = Series("thesis (400 epochs each)", of(points, "thesis"))
    ours = Series("autoseg", of(points, "autoseg", shipped=True), of(points, "autoseg"))
    labels = ("latency p50", "IoU on the test pictures")
    fronts_png(path.with_suffix(".png"), [ours, theirs], 0.87, labels)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="a name in results/reference")
    parser.add_argument("--title", default="One run beside the thesis' 76 trained models")
    return parser.parse_args()


if __name__ == "__main__":
    main()
