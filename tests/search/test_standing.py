"""What is worth confirming on another device, from what is known of the candidates."""

from dataclasses import replace

from factories import make_evaluation, make_score
from worlds import ASKED, WIDE

from autoseg.search.status import next_to_confirm

FAST, SLOW = WIDE.candidate(a=0.25), WIDE.candidate(a=0.5)


def unsure(iou: float):
    """A file's IoU over the floor, of which too few pictures are sure."""
    return replace(make_score(iou, 9, decayed=True, source="onnx"), p_floor=0.6)


def test_next_to_confirm_leaves_out_candidates_rejected_for_their_iou():
    doubtful = make_evaluation(
        FAST, "measured", 2.0, make_score(0.95, 9, decayed=True), unsure(0.95)
    )
    other = make_evaluation(SLOW, "measured", 4.0, make_score(0.93, 9))
    assert next_to_confirm([doubtful, other], [doubtful, other], ASKED) == other
    assert next_to_confirm([doubtful], [doubtful, replace(other, state="rejected")], ASKED) is None
    trained_on = replace(doubtful, scores=(*doubtful.scores, make_score(0.96, 27)))
    assert next_to_confirm([trained_on, other], [trained_on, other], ASKED) == trained_on


def test_next_to_confirm_gives_the_nearest_miss_where_all_are_uncertain():
    ours = [
        make_evaluation(FAST, "measured", 2.0, unsure(0.95)),
        make_evaluation(SLOW, "measured", 4.0, unsure(0.96)),
    ]
    assert next_to_confirm(ours, ours, ASKED) == ours[1]
