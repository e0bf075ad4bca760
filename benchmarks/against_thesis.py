"""One run of ours beside the thesis' 76 trained models: both fronts in one table and picture.

    python benchmarks/against_thesis.py RUN --models thesis_models_x86.csv --data DIR --out NAME

RUN is a finished run on the same pictures and split. The published architectures (exact widths)
and the models that the run confirmed are timed in the same sitting as the same form of graph, in
rounds through all of them, each model in three processes started anew; what was timed already is
kept beside the run. IoU is one confusion matrix over the test pictures, each class map resized
(nearest) to its picture: the table's `iou_dataset`, and computed here anew for ours. --data is the
run's own unless given.

RUN may also be the table of an earlier comparison, results/reference/against-thesis.csv: the same
architectures are timed again, all with random weights, and the IoUs are those of the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
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

CHANNEL_STEP = 8  # to which the search rounds widths on this machine
BASELINE = {"resolution": 512, "a": 1.0, "t": 6, "r": 3, "pp": 1}
TIMINGS = (
    "model", "round", "sitting", "p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "min_ms",
    "relative_p50", "processes_ms", "runs", "ratio", "flags",
)  # fmt: skip


def main() -> None:
    arguments = parse()
    again = arguments.run.suffix == ".csv"
    theirs, place = published(arguments.models), arguments.run / "against-thesis"
    if again:
        place = Path("results") / arguments.run.stem
        ours, told = earlier(arguments.run), Told.of_table(arguments.run.with_suffix(".md"))
    else:
        result = Result.from_run(arguments.run)
        said = yaml.safe_load((arguments.run / "run.yaml").read_text())
        ours = confirmed(result, arguments.data or Path(said["data"]))
        told = Told(tuple(about(result, said)), tuple(costs(result, theirs)))
    place.mkdir(parents=True, exist_ok=True)
    baseline = Model("baseline", name_of(BASELINE), BASELINE)
    models = [*theirs, *ours]
    if baseline.key not in {model.key for model in models}:
        models.append(baseline)
    artifacts = None if again else result.files / "artifacts"
    files = {model.key: exported(model, place, artifacts) for model in models}
    plan = replace(MeasurePlan.confirm("p50"), max_s=arguments.max_s)
    rows = timed(files, place / "timings.csv", arguments.rounds, plan)
    points = [row for model in models for row in points_of(model, rows)]
    lines = [f"# {arguments.title}", "", *told.run, *sitting(rows), ""]
    lines += [*summary(points, medians(rows, baseline.key)[0]), ""]
    lines += [*fronts_table(points), "", *told.costs, "", *how(rows)]
    write(arguments.out, lines, points)
    print("\n".join(lines))


@dataclass(frozen=True)
class Told:
    """What is said of the run, and of what both sides' training took."""

    run: tuple[str, ...]
    costs: tuple[str, ...]

    @classmethod
    def of_table(cls, path: Path) -> Told:
        """As an earlier comparison said it."""
        lines = path.read_text().splitlines()
        run = [line for line in lines if line.startswith(("- run:", "- pictures:"))]
        kept = "- the networks and their IoUs are those of that run; timed again since"
        told = [line.partition("; timed in")[0] for line in run]
        costs = [line for line in lines if line.startswith("Training:")]
        return cls((*told, *[kept] * (kept not in told)), tuple(costs))


def earlier(path: Path) -> list[Model]:
    """Our models in the table of an earlier comparison, with the IoUs that it holds."""
    found = []
    for row in read_csv(path):
        if row["who"] == "autoseg":
            knobs = {name: kind(row[name]) for name, kind in (*KNOBS, ("channels", int))}
            shipped = bool(int(row["on_its_front"]))
            ious = (float(row["iou"]),)
            found.append(Model("autoseg", row["model"], knobs, ious, shipped, row["about"]))
    return found


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


def exported(model: Model, place: Path, artifacts: Path | None) -> Path:
    """The shipped graph: ours as confirmed, else with random weights; theirs with exact widths."""
    import torch

    from autoseg.export.to_onnx import export
    from autoseg.networks import build

    ours = model.who == "autoseg"
    if ours and artifacts:
        return artifacts / f"{model.key}.onnx"
    path = place / f"{model.key}.onnx"
    if not path.exists():
        torch.manual_seed(0)
        built = {name: v for name, v in model.knobs.items() if name not in ("resolution",)}
        channels = int(built.pop("channels", 3))
        step = CHANNEL_STEP if ours else 1
        net = build("fast_scnn", channels=channels, classes=1, round_to=step, **built)
        side = int(model.knobs["resolution"])
        export(net, path, input_hw=(side, side), channels=channels, classes=1, metadata={})
    return path


def timed(
    files: Mapping[str, Path], path: Path, rounds: int, plan: MeasurePlan
) -> list[dict[str, str]]:
    """Each model once a round, in another order each time; what `path` holds is kept."""
    from autoseg.device import resolve

    rows = read_csv(path)
    done = {(row["model"], int(row["round"])) for row in rows}
    sitting = datetime.now(UTC).isoformat(timespec="seconds")
    device, names = resolve("local"), list(files)
    for number in range(rounds):
        order = [names[i] for i in np.random.default_rng(number).permutation(len(names))]
        for name in (n for n in order if (n, number) not in done):
            m = device.measure(files[name], plan)
            each = " ".join(f"{ms:.6g}" for ms in m.process_p50_ms)
            figures = (m.p50_ms, *m.p50_ci_ms, m.p90_ms or m.p50_ms, m.min_ms, m.relative_p50)
            more = (each, m.runs, m.reference_ratio, "; ".join(m.flags))
            texts = map(str, (name, number, sitting, *figures, *more))
            rows.append(dict(zip(TIMINGS, texts, strict=True)))
            append_csv(path, rows[-1:])
        print(f"round {number + 1} of {rounds}: {len(names)} models", file=sys.stderr)
    device.close()
    return [row for row in rows if row["model"] in files]


def about(result: Result, said: Mapping[str, Any]) -> list[str]:
    """The run's command, seed and pictures."""
    counts = ", ".join(f"{count} {split}" for split, count in said["pictures"].items())
    return [
        f"- run: `{run_command(said)}`, seed {said['seed']}; {result.spent_s:.0f} s",
        f"- pictures: {counts}",
    ]


def sitting(rows: Sequence[Row]) -> list[str]:
    """The command of the timing, machine, versions, and when it was."""
    sittings = sorted({row["sitting"] for row in rows})
    return [
        f"- then: `{command()}`",
        *facts(),
        f"- onnxruntime {version('onnxruntime')}; code: {commit_of(ROOT)}",
        f"- timed in {len(sittings)} sitting(s) from {sittings[0]}",
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
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--max-s", type=float, default=15.0, help="longest timing of a model")
    parser.add_argument("--out", type=Path, required=True, help="a name in results/reference")
    parser.add_argument("--title", default="One run beside the thesis' 76 trained models")
    return parser.parse_args()


if __name__ == "__main__":
    main()
