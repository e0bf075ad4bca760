"""A run made by hand, with every state and every hostile string, and the study that mirrors it."""

from dataclasses import replace
from pathlib import Path

from factories import make_evaluation, make_measurement, make_score
from PIL import Image
from worlds import WIDTH, space_of

from autoseg.core.diagnostics import sheet_path
from autoseg.core.records import Evaluation
from autoseg.networks.space import Knob
from autoseg.report.dashboard.study import StudyMirror
from autoseg.report.dashboard.texts import overview
from autoseg.run.declaration import Declaration
from autoseg.run.result import Result

NAME = "a 'run' \"of\" <i>mine<b> ?#%41 é"
MARKUP = "<img src=http://evil.test/x.png onerror=alert(1)>|`b`\n![x](http://evil.test/y)"
KIND = Knob("kind", (MARKUP, "<b>bold</b></script>", 'it\'s "quoted"'), MARKUP, "entry")
SIZE = Knob("resolution", (128, "96x128", 64), 128, "entry")
SPACE = space_of(SIZE, WIDTH, KIND)
ASKED = Declaration(max_latency="10ms", min_iou=0.9, data=MARKUP, space="toy", budget="1m")


def evaluations() -> list[Evaluation]:
    """Three on the front, one beaten, two rejected, and one each of what else there is."""
    candidates = (
        SPACE.candidate(resolution=size, a=a, kind=kind)
        for size in SIZE.choices for a in WIDTH.choices for kind in KIND.choices
    )  # fmt: skip
    ends = [
        ("confirmed", 2.0, 0.92), ("confirmed", 4.0, 0.95), ("confirmed", 8.0, 0.97),
        ("confirmed", 5.0, 0.93), ("rejected", 3.0, 0.91), ("rejected", 1.0, 0.86),
        ("scored", 1.5, 0.93), ("stopped", 6.0, 0.7), ("measured", 7.0, None),
        ("too_slow", 40.0, None), ("failed", 9.0, None),
    ]  # fmt: skip
    made = []
    for candidate, (state, ms, iou) in zip(candidates, ends, strict=False):
        scores = () if iou is None else (make_score(iou - 0.1, 3), make_score(iou, 9))
        if state in ("confirmed", "rejected"):
            scores += (
                make_score(iou, 11, decayed=True),
                make_score(iou, 11, decayed=True, source="onnx"),
            )
        made.append(
            replace(
                make_evaluation(candidate, state, ms, *scores),
                measurements=(make_measurement(ms, device=MARKUP, flags=(MARKUP,)),),
                p_feasible={"confirmed": 0.97, "rejected": 0.6}.get(state),
                error=MARKUP if state in ("rejected", "stopped", "failed") else None,
            )
        )
    return made


def result_in(folder: Path, *, searched: bool = True) -> Result:
    made = evaluations()
    return Result(
        folder=folder, declaration=ASKED, evaluations=tuple(made), baseline=made[-2],
        verdict=(MARKUP, "a line"), spent_s=60.0,
        curve=((10.0, 0.1), (20.0, 0.2), (50.0, 0.3)), searched=searched,
    )  # fmt: skip


def shown_in(results: Path) -> Result:
    """A run of the worst of names, with a sheet of all that was scored."""
    folder = results / NAME
    for evaluation in evaluations():
        if evaluation.iou is not None:
            sheet = sheet_path(folder, evaluation.candidate.key)
            sheet.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (320, 200), "teal").save(sheet)
    return mirrored(result_in(folder))


def mirrored(result: Result) -> Result:
    """Write the study of a result; `run.yaml` is there as well, so that it is a run."""
    result.folder.mkdir(parents=True, exist_ok=True)
    (result.folder / "run.yaml").write_text("{}")
    said = {**result.declaration.to_yaml(), "classes": ["background", MARKUP]}
    mirror = StudyMirror(
        result.folder, SPACE, "expert", result.constraints, declaration=said,
        evaluations=result.evaluations, overview=lambda: overview(result),
    )  # fmt: skip
    if result.searched:
        mirror.finish(result.evaluations)
    mirror.close()
    return result
