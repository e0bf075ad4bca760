"""IoU and its kin, against figures worked out by hand and against Pillow."""

import numpy as np
import pytest
import torch

from autoseg.core.errors import InputError
from autoseg.data.dataset import scored_classes
from autoseg.train import metrics
from autoseg.train.scoring import count_where_they_are


def test_confusion_has_truth_in_rows_and_skips_255():
    truth = np.array([[0, 0, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    table = metrics.confusion(prediction, truth, 2)
    assert table.dtype == np.int64
    assert table.tolist() == [[1, 1], [0, 1]]


def test_iou_is_the_mean_over_the_scored_classes_that_occur():
    assert metrics.iou(np.array([[90, 5], [1, 4]]), (1,)) == pytest.approx(4 / 10)
    assert metrics.iou(np.array([[4, 1], [5, 90]]), (0,)) == pytest.approx(4 / 10)
    table = np.array([[2, 0, 0, 0], [2, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert metrics.class_iou(table) == (0.5, pytest.approx(4 / 6), None, None)
    assert metrics.iou(table, range(4)) == pytest.approx((0.5 + 4 / 6) / 2)
    assert metrics.pixel_accuracy(table) == 6 / 8


def test_iou_of_a_third_name_without_pixels_is_that_of_two_classes():
    two, three = np.array([[90, 5], [1, 4]]), np.zeros((3, 3), np.int64)
    three[np.ix_((0, 2), (0, 2))] = two
    scored = scored_classes(("background", "unused", "crate"), (0, 2))
    assert metrics.iou(three, scored) == metrics.iou(two, scored_classes(("background", "crate")))
    # Predicting the unused class costs what it takes away from others, and no class of its own.
    three[2, 2], three[2, 1] = 2, 2
    assert metrics.iou(three, scored) == pytest.approx(2 / 10)


def test_iou_of_nothing_to_compare_meets_no_floor():
    assert metrics.iou(np.array([[10, 0], [0, 0]]), (1,)) == 0
    assert metrics.pixel_accuracy(np.zeros((3, 3), np.int64)) == 0


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[2]], [[0]], "prediction .*2"),
        ([[0]], [[7]], "mask value .*2.* got 7"),
        ([[0, 0]], [[0]], "size"),
    ],
)
def test_confusion_refuses_values_that_are_no_class_index(prediction, truth, message):
    with pytest.raises(InputError, match=message):
        metrics.confusion(np.array(prediction, np.uint8), np.array(truth, np.uint8), 2)


def test_confusion_accepts_255_classes():
    every = np.arange(255, dtype=np.uint8).reshape(15, 17)
    assert metrics.iou(metrics.confusion(every, every, 255), range(255)) == 1


def test_score_pictures_scores_at_the_size_of_each_truth():
    truths = [np.zeros((9, 12), np.uint8), np.ones((30, 20), np.uint8)]
    maps = (np.full((4, 4), value, np.uint8) for value in (0, 1))
    tables = metrics.score_pictures(maps, truths, 2)
    assert tables.tolist() == [[[108, 0], [0, 0]], [[0, 0], [0, 600]]]
    with pytest.raises(InputError, match="got 1 of 2"):
        metrics.score_pictures([truths[0]], truths, 2)


@pytest.mark.parametrize("classes", [2, 7, 255])
def test_counts_on_the_maps_device_are_those_of_numpy(classes):
    rng = np.random.default_rng(classes)
    maps = rng.integers(0, classes, (5, 24, 32), dtype=np.uint8)
    sizes = [(24, 32), (90, 61), (7, 100), (48, 64), (1, 1)]
    truths = [rng.integers(0, classes, size, dtype=np.uint8) for size in sizes]
    for truth in truths:
        truth[rng.random(truth.shape) < 0.1] = 255
    counted = count_where_they_are(torch.from_numpy(maps), truths, classes)
    assert counted.dtype == np.int64
    assert np.array_equal(counted, metrics.score_pictures(maps, truths, classes))


def test_counts_on_the_maps_device_refuse_values_that_are_no_class_index():
    maps = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"mask value .*2.* got 7"):
        count_where_they_are(maps, [np.full((9, 9), 7, np.uint8)], 2)


def test_bootstrap_iou_resamples_groups_and_follows_its_seed():
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 50, (40, 2, 2))
    alone = metrics.bootstrap_iou(tables, [str(n) for n in range(40)], (1,))
    twins = metrics.bootstrap_iou(np.repeat(tables, 4, 0), [str(n // 4) for n in range(160)], (1,))
    # Four copies of a picture in one group tell no more than the picture.
    assert alone.shape == (2000,)
    assert np.allclose(metrics.ci95(alone), metrics.ci95(twins), atol=0.02)
    low, high = metrics.ci95(alone)
    assert low < metrics.iou(tables.sum(0), (1,)) < high
    assert np.array_equal(alone, metrics.bootstrap_iou(tables, [str(n) for n in range(40)], (1,)))
    assert not np.array_equal(
        alone, metrics.bootstrap_iou(tables, [str(n) for n in range(40)], (1,), seed=1)
    )


def test_bootstrap_iou_of_one_group_has_no_spread():
    samples = metrics.bootstrap_iou(np.array([[[5, 1], [1, 3]]] * 3), ["a", "a", "a"], (1,))
    assert np.ptp(samples) == 0
    with pytest.raises(InputError, match="group.* got 1 for 2"):
        metrics.bootstrap_iou(np.zeros((2, 2, 2), np.int64), ["a"], (1,))
