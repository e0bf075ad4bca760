"""The verdict on resizes: said with figures where they matter for what is promised."""

from dataclasses import replace

import pytest
from factories import make_evaluation, make_measurement, with_frame
from worlds import WIDE, by_key, scheduler_of

from autoseg.core.records import Constraints, Evaluation
from autoseg.search.frame_share import frame_lines

ASKED = Constraints(10.0, 0.9, frame_hw=(480, 640))


def timed(into: float = 1.0, back: float = 0.5, *, state: str = "measured", **knobs) -> Evaluation:
    found = make_evaluation(WIDE.candidate(**knobs), state, 2.0)
    return replace(found, measurements=(with_frame(make_measurement(2.0), into, back),))


UNTIMED = make_evaluation(WIDE.candidate(a=0.125), "measured", 2.0)


def test_frame_lines_warn_where_resizes_take_over_a_tenth_of_the_models_ceiling():
    (line,) = frame_lines([timed(), UNTIMED], ASKED)
    size = WIDE.baseline.input_hw
    for words in (
        f"resizing 640x480 to {size[1]}x{size[0]} and back takes 1.5 ms", "15 % of the 10 ms",
        "--latency frame",
    ):  # fmt: skip
        assert words in line
    assert frame_lines([timed(0.6, 0.3), UNTIMED], ASKED) == []


def test_frame_lines_of_a_promised_frame_give_the_share_in_any_case():
    (line,) = frame_lines([timed(0.2, 0.1)], replace(ASKED, latency="frame"))
    assert "3 % of the 10 ms ceiling" in line and "--latency" not in line


def test_frame_lines_are_of_the_slowest_resize_that_fits():
    fast, slow = timed(), timed(7.0, 1.0, state="too_slow", a=0.25)
    assert "1.5 ms" in frame_lines([fast, slow], ASKED)[0]
    assert "8 ms" in frame_lines([slow], ASKED)[0]


@pytest.mark.parametrize("latency", ["model", "frame"])
def test_frame_lines_say_once_what_helps_where_no_frame_was_timed(latency):
    (line,) = frame_lines([UNTIMED, UNTIMED], replace(ASKED, latency=latency))
    assert "frame not timed" in line and "devices setup" in line
    assert frame_lines([UNTIMED], Constraints(10.0, 0.9)) == []
    assert frame_lines([], ASKED) == []


def test_verdict_has_the_share_of_the_resizes():
    lines = scheduler_of(WIDE, constraints=ASKED).verdict(by_key(timed()))
    assert any("--latency frame" in line for line in lines)
