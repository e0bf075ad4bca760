"""Fair beginnings: an order of samples that keeps the shares of strata."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autoseg.data.dataset import Sample
from autoseg.data.strata import rarest_classes, stratified_order

SIZES = {"road": 700, "car": 200, "sign": 80, "dog": 19, "": 1}


def samples(sizes: dict[str, int] = SIZES) -> list[Sample]:
    named = [f"{s or 'none'}{n}" for s, size in sizes.items() for n in range(size)]
    strata = [s for s, size in sizes.items() for _ in range(size)]
    return [Sample(n, n, n, n, stratum=s) for n, s in zip(named, strata, strict=True)]


@pytest.mark.parametrize("seed", range(3))
def test_every_beginning_holds_the_strata_in_their_shares(seed):
    taken, held = samples(), Counter()
    for count, place in enumerate(stratified_order(taken, seed), start=1):
        held[taken[place].stratum] += 1
        for stratum, size in SIZES.items():
            assert abs(held[stratum] - size * count / len(taken)) < 2.5


def test_every_sample_comes_once():
    assert sorted(stratified_order(samples(), 0)) == list(range(1000))
    assert stratified_order([], 0).tolist() == []


def test_the_same_pictures_come_in_the_same_order_however_they_are_listed():
    taken, shuffled = samples(), samples()
    random.Random(0).shuffle(shuffled)
    orders = [[s[i].stem for i in stratified_order(s, 7)] for s in (taken, shuffled)]
    assert orders[0] == orders[1]


def test_another_seed_gives_another_order():
    taken = samples()
    assert stratified_order(taken, 0).tolist() != stratified_order(taken, 1).tolist()


def test_without_strata_it_is_a_plain_shuffle():
    taken = [replace(sample, stratum="") for sample in samples()]
    assert np.corrcoef(stratified_order(taken, 0), np.arange(1000))[0, 1] < 0.1


def test_a_stratum_is_the_class_that_the_fewest_pictures_of_train_hold():
    held = [{0: 90, 1: 9}, {0: 90, 1: 9, 2: 1}, {0: 90}, {2: 5}, {255: 5}, {1: 2, 2: 900}]
    assert rarest_classes(held, 3, ("road", "car", "sign")) == (
        "car", "sign", "road", "sign", "", "sign",
    )  # fmt: skip


def test_where_every_picture_holds_both_classes_the_smaller_is_the_stratum():
    pictures = [{0: 80, 1: 20}, {0: 10, 1: 20}]
    assert rarest_classes(pictures, 2, ("background", "parcel")) == ("parcel",) * 2
