"""Fair splits and beginnings: each holds every class in about the shares of the whole."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.classes import rarest_classes
from autoseg.data.dataset import Sample
from autoseg.data.stratification import stratified_order, stratified_split

SIZES = {"road": 700, "car": 200, "sign": 80, "dog": 19, "": 1}


def samples(sizes: dict[str, int] = SIZES) -> list[Sample]:
    named = [f"{s or 'none'}{n}" for s, size in sizes.items() for n in range(size)]
    strata = [s for s, size in sizes.items() for _ in range(size)]
    return [
        Sample(stem=n, group=n, image=n, mask=n, stratum=s)
        for n, s in zip(named, strata, strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_stratified_order_prefix_contains_the_strata_in_their_shares(seed):
    taken, held = samples(), Counter()
    for count, place in enumerate(stratified_order(taken, seed), start=1):
        held[taken[place].stratum] += 1
        for stratum, size in SIZES.items():
            assert abs(held[stratum] - size * count / len(taken)) < 2.5


def test_stratified_order_contains_every_sample_once():
    assert sorted(stratified_order(samples(), 0)) == list(range(1000))
    assert stratified_order([], 0).tolist() == []


def test_stratified_order_order_does_not_depend_on_the_listing():
    taken, shuffled = samples(), samples()
    random.Random(0).shuffle(shuffled)
    orders = [[s[i].stem for i in stratified_order(s, 7)] for s in (taken, shuffled)]
    assert orders[0] == orders[1]


def test_stratified_order_of_another_seed_has_another_order():
    taken = samples()
    assert stratified_order(taken, 0).tolist() != stratified_order(taken, 1).tolist()


def test_stratified_order_without_strata_is_a_plain_shuffle():
    taken = [replace(sample, stratum="") for sample in samples()]
    assert np.corrcoef(stratified_order(taken, 0), np.arange(1000))[0, 1] < 0.1


def test_strata_are_by_the_class_that_the_fewest_pictures_of_train_contain():
    held = [{0: 90, 1: 9}, {0: 90, 1: 9, 2: 1}, {0: 90}, {2: 5}, {255: 5}, {1: 2, 2: 900}]
    assert rarest_classes(held, 3, ("road", "car", "sign")) == (
        "car", "sign", "road", "sign", "", "sign",
    )  # fmt: skip


def test_strata_are_by_the_smaller_class_where_every_picture_contains_both():
    pictures = [{0: 80, 1: 20}, {0: 10, 1: 20}]
    assert rarest_classes(pictures, 2, ("background", "parcel")) == ("parcel",) * 2


def split_of(
    classes: list[set[int]], seed: int = 0, group_size: int = 1, **shares: float
) -> dict[str, list[int]]:
    """The places of samples, which hold these classes and come in groups, by split."""
    taken = [
        Sample(f"{place:04d}", f"g{place // group_size}", str(place), "")
        for place in range(len(classes))
    ]
    splits = stratified_split(taken, classes, seed, shares or {"val": 0.15, "test": 0.15})
    return {split: [int(s.image) for s in chosen] for split, chosen in splits.items()}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("having", [3, 4, 9, 40])
def test_stratified_split_brings_a_rare_class_to_every_split(seed, having):
    classes = [{0, 1} if place % 11 == 0 else {0} for place in range(11 * having)]
    splits = split_of(classes, seed)
    counts = {split: sum(1 in classes[one] for one in chosen) for split, chosen in splits.items()}
    assert min(counts.values()) >= 1 and sum(counts.values()) == having
    assert counts["train"] >= counts["val"]
    assert len(splits["val"]) == pytest.approx(11 * having * 0.15, abs=1.5)
    assert sorted(one for chosen in splits.values() for one in chosen) == [*range(11 * having)]


@pytest.mark.parametrize("seed", range(4))
def test_stratified_split_keeps_the_shares_of_many_classes_in_whole_groups(seed):
    rng = np.random.default_rng(seed)
    common = rng.random((900, 6)) < [1, 0.5, 0.2, 0.08, 0.04, 0.02]
    classes = [set(np.flatnonzero(row).tolist()) for row in common]
    splits = split_of(classes, seed, group_size=3)
    where = {one // 3: split for split, chosen in splits.items() for one in chosen}
    assert all(where[one // 3] == split for split, chosen in splits.items() for one in chosen)
    for one in range(6):
        held = Counter(s for s, chosen in splits.items() for n in chosen if one in classes[n])
        assert held["val"] == pytest.approx(0.15 * sum(held.values()), rel=0.35, abs=2)


@pytest.mark.parametrize(
    ("groups", "reached"), [(1, {"train"}), (2, {"train", "val"}), (3, {"train", "val", "test"})]
)
def test_stratified_split_of_few_groups_gives_train_a_class_first_then_val(groups, reached):
    for seed in range(6):
        classes = [{0, 1} if place < 5 * groups else {0} for place in range(100)]
        splits = split_of(classes, seed, group_size=5)
        assert {
            s for s, chosen in splits.items() if any(1 in classes[n] for n in chosen)
        } == reached


def test_stratified_split_frees_a_group_of_test_for_val():
    # Both groups with class 2 hold class 1 too, by which they may be placed.
    classes = [{0, 1, 2}, {0, 1, 2}, {0, 1}, {0, 1}, *[{0}] * 16]
    for seed in range(20):
        splits = split_of(classes, seed)
        assert any(2 in classes[n] for n in splits["train"])
        assert any(2 in classes[n] for n in splits["val"])


def test_stratified_split_follows_the_seed_and_not_the_order_of_the_samples():
    classes = [{0, place % 3} for place in range(60)]
    taken = [Sample(f"{n:02d}", f"{n:02d}", f"{n}", "") for n in range(60)]
    first, other = (stratified_split(taken, classes, seed) for seed in (0, 1))
    again = stratified_split(taken[::-1], classes[::-1], 0)
    assert first == again != other
    # The same on any machine: these stems are part of the promise.
    assert [s.stem for s in first["val"]] == "05 06 12 33 40 41 46 47 49".split()


def test_stratified_split_of_pictures_without_a_class_has_the_sizes_of_the_shares():
    splits = split_of([set()] * 20)
    assert {split: len(chosen) for split, chosen in splits.items()} == {
        "train": 14, "val": 3, "test": 3,
    }  # fmt: skip
    assert split_of([]) == {"train": [], "val": [], "test": []}


@pytest.mark.parametrize("seed", range(3))
def test_stratified_split_of_many_classes_leaves_train_the_largest(seed):
    rng = np.random.default_rng(seed)
    classes = [set(rng.choice(200, 45, replace=False).tolist()) for _ in range(40)]
    sizes = {split: len(chosen) for split, chosen in split_of(classes, seed).items()}
    assert sizes["train"] == max(sizes.values())
    assert max(sizes["val"], sizes["test"]) <= 12  # twice what is wanted
