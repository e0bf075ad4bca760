"""A recipe is numbers with rules; a wrong one is refused before anything is trained."""

import pytest

from autoseg.recipe import Recipe
from autoseg.records import InputError


def test_some_numbers_are_replaced_and_lists_and_whole_numbers_are_taken():
    recipe = Recipe.of({"rungs": [1, 2], "learning_rate": 1, "augment": False})
    assert (recipe.rungs, recipe.learning_rate, recipe.augment) == ((1, 2), 1.0, False)
    assert recipe.batch == Recipe().batch


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"lr": 0.1}, "unknown lr; known: rungs, optimizer"),
        ({"batch": "8"}, "batch must be like [0-9]+, got '8'"),
        ({"batch": True}, "batch must be like [0-9]+, got True"),
        ({"augment": 1}, "augment must be like True, got 1"),
        ({"rungs": [1.5]}, "rungs must be like"),
        ({"rungs": []}, r"out of range: rungs=\(\)"),
        ({"rungs": [9, 3]}, r"out of range: rungs=\(9, 3\)"),
        ({"rungs": [0, 3]}, r"out of range: rungs=\(0, 3\)"),
        ({"rungs": [3, 3]}, r"out of range: rungs=\(3, 3\)"),
        ({"optimizer": "adam"}, "out of range: optimizer='adam'"),
        ({"learning_rate": -1.0, "dice_weight": 2.0}, "learning_rate=-1.0, dice_weight=2.0"),
    ],
)
def test_what_is_wrong_is_named(overrides, said):
    with pytest.raises(InputError, match=said):
        Recipe.of(overrides)


def test_the_rungs_are_climbed_one_by_one():
    recipe = Recipe.of({"rungs": [1, 3, 9]})
    assert [recipe.next_rung(epoch) for epoch in (0, 1, 2, 3, 9)] == [1, 3, 3, 9, None]
    assert Recipe.of({"decay_share": 0.5}).decay_epochs(8) == 4
    assert recipe.decay_epochs(1) == 2  # never shorter: the rate must have time to fall
