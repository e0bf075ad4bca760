"""A recipe is numbers with rules; a wrong one is refused before anything is trained."""

import pytest

from autoseg.core.errors import InputError
from autoseg.train.recipe import Recipe


def test_recipe_of_replaces_values_and_accepts_lists_and_whole_numbers():
    recipe = Recipe.of({"rungs": [1, 2], "learning_rate": 1, "augment": False})
    assert (recipe.rungs, recipe.learning_rate, recipe.augment) == ((1, 2), 1.0, False)
    assert recipe.batch == Recipe().batch


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"lr": 0.1}, "lr.*: schedule, rungs, optimizer"),
        ({"batch": "8"}, "batch .*got '8'"),
        ({"batch": True}, "batch .*got True"),
        ({"augment": 1}, "augment .*True, got 1"),
        ({"rungs": [1.5]}, r"rungs .*got .*1\.5"),
        ({"rungs": []}, r"rungs=\(\)"),
        ({"rungs": [9, 3]}, r"rungs=\(9, 3\)"),
        ({"rungs": [0, 3]}, r"rungs=\(0, 3\)"),
        ({"rungs": [3, 3]}, r"rungs=\(3, 3\)"),
        ({"schedule": "long"}, "schedule .*quick, standard, thorough, got 'long'"),
        ({"optimizer": "adam"}, "optimizer='adam'"),
        ({"learning_rate": -1.0, "dice_weight": 2.0}, "learning_rate=-1.0, dice_weight=2.0"),
    ],
)
def test_recipe_of_refuses_wrong_values_with_name_and_value(overrides, said):
    with pytest.raises(InputError, match=said):
        Recipe.of(overrides)


def test_recipe_rungs_are_climbed_one_by_one():
    recipe = Recipe.of({"rungs": [1, 3, 9]})
    assert [recipe.next_rung(epoch) for epoch in (0, 1, 2, 3, 9)] == [1, 3, 3, 9, None]
    assert Recipe.of({"decay_share": 0.5}).decay_epochs(8) == 4
    assert recipe.decay_epochs(1) == 2  # never shorter: the rate must have time to fall


def test_recipe_schedule_sets_rungs_and_explicit_rungs_win():
    thorough = Recipe.of({"schedule": "thorough"})
    top = thorough.rungs[-1]
    assert top + thorough.decay_epochs(top) == 400  # the thesis' length
    assert Recipe.of({"schedule": "quick", "rungs": [2]}).rungs == (2,)
    assert Recipe.of({}) == Recipe()


def test_recipe_epoch_of_a_large_set_is_a_fixed_part_of_it():
    recipe = Recipe.of({"epoch_pictures": 50, "subset_epochs": 3})
    begun = [recipe.pictures(epoch, 120) for epoch in range(6)]
    assert begun == [(0, 50), (0, 50), (0, 50), (50, 50), (100, 50), (30, 50)]
    assert {recipe.pictures(epoch, 40) for epoch in range(6)} == {(0, 40)}
