"""What is worth confirming on another device, from what is known of the candidates."""

from dataclasses import replace

from worlds import ASKED, WIDE, known, scored

from autoseg.search.status import next_to_confirm

FAST, SLOW = WIDE.candidate(a=0.25), WIDE.candidate(a=0.5)


def unsure(iou: float):
    """A file's IoU over the floor, of which too few pictures are sure."""
    return replace(scored(iou, 9, decayed=True, source="onnx"), p_floor=0.6)


def test_what_is_known_to_be_struck_for_its_iou_is_not_timed_again():
    doubtful = known(FAST, "measured", 2.0, scored(0.95, 9, decayed=True), unsure(0.95))
    other = known(SLOW, "measured", 4.0, scored(0.93, 9))
    assert next_to_confirm([doubtful, other], [doubtful, other], ASKED) == other
    assert next_to_confirm([doubtful], [doubtful, replace(other, state="rejected")], ASKED) is None
    trained_on = replace(doubtful, scores=(*doubtful.scores, scored(0.96, 27)))
    assert next_to_confirm([trained_on, other], [trained_on, other], ASKED) == trained_on


def test_where_all_are_unsure_the_nearest_miss_is_worth_knowing():
    ours = [known(FAST, "measured", 2.0, unsure(0.95)), known(SLOW, "measured", 4.0, unsure(0.96))]
    assert next_to_confirm(ours, ours, ASKED) == ours[1]
