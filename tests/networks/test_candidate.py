"""A candidate's four parts, and its identity."""

from autoseg.networks.space import Knob, SearchSpace, channels_of, identity, parts_of

SPACE = SearchSpace(
    "mine",
    "fast_scnn",
    (
        Knob("resolution", (128, 64), 128, "entry"),
        Knob("a", (1, 0.5), 1, "entry"),
        Knob("batch", (8, 4), 8, "entry", stage="train"),
        Knob("bits", (32, 8), 32, "entry", stage="compress"),
        Knob("channels", (3, 1), 3, "entry"),
    ),
)


def test_parts_of_tells_choices_apart_by_their_stage():
    candidate = SPACE.candidate(a=0.5, bits=8)
    assert parts_of(SPACE, candidate) == {
        "input": {"resolution": 128, "channels": 3},
        "build": {"a": 0.5},
        "train": {"batch": 8},
        "compress": {"bits": 8},
    }
    assert channels_of(SPACE.candidate(channels=1)) == 1


def test_identity_covers_structure_input_training_and_compression():
    twins = [{}, {"a": 0.5}]  # the structure stands for the build part
    others = [{"resolution": 64}, {"channels": 1}, {"batch": 4}, {"bits": 8}]
    found = [
        identity("one", parts_of(SPACE, SPACE.candidate(**choices))) for choices in twins + others
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 1 + len(others)
    assert identity("two", parts_of(SPACE, SPACE.candidate())) not in found
