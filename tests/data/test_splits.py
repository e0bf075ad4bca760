"""Fair beginnings: an order of samples that keeps the shares of strata."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.classes import rarest_classes
from autoseg.data.dataset import Sample
from autoseg.data.splits import stratified_order

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
