"""The card: figures with intervals, what it was trained on, its limits; names stand as text."""

import re
from dataclasses import replace

import pytest
from bundles import DEVICE, SAID, bundle, measured
from factories import make_times, with_frame

from autoseg.core.records import Constraints, FrameParts
from autoseg.core.text import markdown_name

HOSTILE = (
    "<script>alert(1)</script>", "a|b", "two\nlines\r\n# title", "[x](http://evil.example)",
    "![i](x.png)", "`code`", "**bold** _it_", "\u202egnp.exe", "&lt;b&gt;", "\x1b[31mred\x07",
    "http://evil.example www.evil.example", "$x$ :tada: @all", "\ud800half", "", "x" * 5000,
)  # fmt: skip


def card(tmp_path, *classes: str, **facts) -> str:
    named = classes or ("background", "parcel")
    return (bundle(tmp_path, classes=named, **facts) / "card.md").read_text(encoding="utf-8")


def test_card_has_constraints_results_and_device(tmp_path):
    lines = card(tmp_path).splitlines()
    for line in (
        "| latency p50 | 1.05 ms | 1 to 1.1 ms |",
        "| latency p90 | 1.2 ms (ceiling 33 ms) | 1.1 to 1.3 ms |",
        "| IoU on val | 0.9600 (floor 0.95) | 0.9500 to 0.9700 |",
        "| IoU on test | 0.9550 | 0.9450 to 0.9650 |",
        "| parcel | `#f032e6` | 0.9600 | 0.9550 |",
        "| processor | Cortex-A72 |",
        "| data | boxes (digest d1) |",
        "| pictures | 20 train, 5 val, 5 test |",
        "| parameters | 1,234,567 |",
    ):
        assert line in lines


def test_card_has_the_limits(tmp_path):
    text = card(tmp_path)
    limits = text.split("## Limits")[1].split("## ")[0]
    for words in ("pi4", "128x96"):
        assert words in limits


@pytest.mark.parametrize(
    "licence, line",
    [(None, "| licence | unknown"), ("MIT License (LICENSE)", "| licence | MIT License (L")],
)
def test_card_has_the_licence_of_the_data_or_unknown(tmp_path, licence, line):
    assert line in card(tmp_path, declaration={**SAID, "licence": licence})


def test_card_has_warnings_of_the_measurement_and_the_time_of_a_whole_picture(tmp_path):
    evaluation = measured()
    flagged = replace(evaluation.measurements[0], flags=("throttled | hot",))
    timed = with_frame(flagged, 3.0, 0.5)
    text = card(tmp_path, evaluation=replace(evaluation, measurements=(timed,)))
    assert "throttled \\| hot |" in text
    assert re.search(r"640x480 .* 3 ms, .* 1\.05 ms, .* 0\.5 ms", text)
    assert "| frame p90 | 4.55 ms | 4.53 to 4.57 ms |" in text
    limits = text.split("## Limits")[1]
    assert "input of 128x96" in limits and "3.5 ms for one of 640x480" in limits


def test_card_of_a_promised_frame_names_the_frame_and_the_model_beside_it(tmp_path):
    evaluation = measured()
    asked = Constraints(33, 0.95, latency="frame", frame_hw=(480, 640))
    parts = FrameParts(hw=(480, 640), resize_ms=0.5, inference_ms=0.4, resize_back_ms=0.15)
    of_frames = replace(
        evaluation.measurements[0], latency="frame", frame=parts, beside=make_times(0.41)
    )
    text = card(
        tmp_path, evaluation=replace(evaluation, measurements=(of_frames,)), constraints=asked
    )
    assert "at most 33 ms a frame of 640x480 (frame p90) on pi4" in text
    assert "| frame p90 | 1.2 ms (ceiling 33 ms) | 1.1 to 1.3 ms |" in text
    assert re.search(r"\| model p90 \| 0\.41 ms \|", text) and "| latency " not in text
    assert "frame of 640x480 at a time, with both its resizes" in text.split("## Limits")[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_card_escapes_a_hostile_run_name(tmp_path, name):
    """The lines are those of a harmless name, and what stands for the name is inert."""
    calm, wild = card(tmp_path), card(tmp_path, "background", name)
    assert len(wild.splitlines()) == len(calm.splitlines())
    for ours, theirs in zip(calm.splitlines(), wild.splitlines(), strict=True):
        if ours != theirs:
            assert ours.replace("parcel", markdown_name(name)) == theirs
            assert theirs.replace("\\|", "").count("|") == ours.count("|")
            assert "\x1b" not in theirs and "\u202e" not in theirs and len(theirs) < 1000


@pytest.mark.parametrize("name", ("parcel", *HOSTILE))
def test_card_says_of_which_classes_the_iou_is(tmp_path, name):
    evaluation = measured()
    told = f"{name}, the foreground"
    scores = tuple(replace(score, iou_of=told) for score in evaluation.scores)
    calm = card(tmp_path).splitlines()
    text = card(tmp_path, evaluation=replace(evaluation, scores=scores))
    assert markdown_name(told) in text and "<script" not in text
    assert len(text.splitlines()) == len(calm)


def test_card_escapes_names_of_data_devices_and_knobs(tmp_path):
    bad = "<img src=x>|\n#"
    said = {**SAID, "data": f"/d/{bad.replace('/', '')}", "licence": bad, "versions": {bad: bad}}
    text = card(tmp_path, declaration=said, device=replace(DEVICE, name=bad, model=bad))
    assert "<img" not in text.replace("\\<img", "") and "\n#\n" not in text
