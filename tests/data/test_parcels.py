"""The synthetic parcels: the same everywhere, labelled truly, and not empty."""

import pickle
import subprocess
import sys

import numpy as np

from autoseg import data
from autoseg.data.synthetic.parcels import parcels, scene


def test_load_without_data_gives_parcels():
    dataset = data.load(None)
    assert dataset.classes == ("background", "parcel")
    assert dataset.outputs == 1
    assert {split: len(samples) for split, samples in dataset.splits.items()} == {
        "train": 240,
        "val": 80,
        "test": 80,
    }
    assert dataset.digest == data.load("parcels").digest != parcels(seed=1).digest


def test_scene_is_equal_in_another_process():
    code = (
        "import hashlib; from autoseg.data.synthetic.parcels import scene; "
        "print(hashlib.sha256(b''.join(p.tobytes() for p in scene(3, 100_007))).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(hashes) == 1
    assert not np.array_equal(scene(3, 7)[0], scene(4, 7)[0])


def test_parcels_survive_pickling_and_the_size_of_one_split_changes_no_other():
    small = parcels(0, {"train": 3, "val": 2, "test": 0})
    again = pickle.loads(pickle.dumps(small))
    image, mask = again.read(small.splits["val"][1])
    assert (image.shape, mask.shape) == ((360, 640, 3), (360, 640))
    full = parcels()
    assert np.array_equal(image, full.read(full.splits["val"][1])[0])


def test_parcels_scenes_vary_and_contain_parcels():
    pairs = [scene(0, number) for number in range(12)]
    shares = [float((mask == 1).mean()) for _, mask in pairs]
    assert all(set(np.unique(mask)) <= {0, 1} for _, mask in pairs)
    assert 0.08 < np.mean(shares) < 0.4
    assert len({image.tobytes() for image, _ in pairs}) == 12
    assert all(30 < image.mean() < 200 for image, _ in pairs)
