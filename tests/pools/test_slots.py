"""Slots: one a core without GPUs, and shares of the GPUs where there are some."""

import os
from dataclasses import replace

import pytest
from factories import make_cost

from autoseg.core import cpus
from autoseg.core.errors import InputError
from autoseg.networks.cost import cost
from autoseg.networks.space_file import load_space
from autoseg.pools import slots
from autoseg.pools.slots import (
    CONTEXT_BYTES,
    MAX_PER_GPU,
    Machine,
    Slot,
    make_slots,
    share_of_gpu,
    slots_text,
    this_machine,
    training_bytes,
)
from autoseg.train.task import build_candidate

GB = 10**9


def shared(*gpus: int, of: int) -> tuple[Slot, ...]:
    return tuple(Slot(f"cuda:{n}", 1, 1 / of, f"cuda:{n}") for n in gpus)


def test_slots_are_one_a_core_with_one_thread_each_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(slots, "_GPU_DRIVERS", ())
    assert make_slots(this_machine()) == (Slot("cpu", 1),) * len(os.sched_getaffinity(0))
    assert make_slots(this_machine(), workers=3) == (Slot("cpu", 1),) * 3


def test_slots_follow_the_quota_of_the_control_group(monkeypatch):
    monkeypatch.setattr(slots, "_GPU_DRIVERS", ())
    monkeypatch.setattr(cpus, "cpu_quota", lambda root: 0.5)
    assert make_slots(this_machine()) == (Slot("cpu", 1),)


# What one training takes is 2 GB, of which a slot must have twice as much.
@pytest.mark.parametrize(
    ("cores", "gpus", "memory_gb", "per_gpu"),
    [
        (16, 1, 141, MAX_PER_GPU),  # an H200: as many as keep it busy
        (64, 8, 80, MAX_PER_GPU),
        (32, 8, 80, 4),  # a core each launches the kernels
        (4, 8, 80, 1),  # fewer cores than GPUs: none is left idle
        (16, 1, 24, 6),  # by its memory
        (16, 8, 24, 2),
        (2, 1, 24, 2),
        (16, 1, 8, 2),
        (16, 1, 2, 1),  # it may not fit, and is tried
    ],
)
def test_default_slots_of_cores_gpus_and_memory(cores, gpus, memory_gb, per_gpu):
    machine = Machine(cores, (memory_gb * GB,) * gpus)
    found = make_slots(machine, training_bytes=lambda: 2 * GB)
    assert len(found) == per_gpu * gpus
    assert {slot.threads for slot in found} == {1}
    assert {slot.memory_share for slot in found} == {1 / per_gpu}
    names = [slot.gpu for slot in found]
    assert {names.count(f"cuda:{n}") for n in range(gpus)} == {per_gpu}
    assert [slot.device for slot in found] == names


def test_slots_on_unlike_gpus_fit_the_smallest():
    machine = Machine(16, (80 * GB, 8 * GB))
    assert make_slots(machine, training_bytes=lambda: 2 * GB) == shared(0, 1, 0, 1, of=2)


def test_slots_are_as_many_and_where_the_options_say():
    two = Machine(16, (80 * GB, 80 * GB))
    assert make_slots(two, workers=2) == shared(0, 1, of=1)
    assert make_slots(two, workers=4, gpus=1) == shared(0, 0, 0, 0, of=4)
    assert make_slots(two, workers=3) == (
        Slot("cuda:0", 1, 0.5, "cuda:0"), Slot("cuda:1", 1, 1.0, "cuda:1"),
        Slot("cuda:0", 1, 0.5, "cuda:0"),
    )  # fmt: skip
    assert make_slots(two, gpus_per_trial=0.5) == shared(0, 1, 0, 1, of=2)
    # What is asked for may be more than the default's most.
    assert len(make_slots(two, gpus_per_trial=0.1)) == 20
    assert len(make_slots(two, gpus_per_trial=0.3)) == 6
    assert make_slots(two, workers=1, gpus_per_trial=0.3) == (Slot("cuda:0", 1, 0.3, "cuda:0"),)
    assert make_slots(two, gpus=0) == (Slot(),) * 16
    assert make_slots(Machine(2), gpus=0) == (Slot(),) * 2


@pytest.mark.parametrize(
    ("gpus_here", "asked", "told"),
    [
        (0, {"gpus": 1}, "--gpus 1 asks for more GPUs than torch finds here, 0"),
        (2, {"gpus": 3}, "--gpus 3 asks for more GPUs than torch finds here, 2"),
        (0, {"gpus_per_trial": 0.5}, "--gpus-per-trial 0.5 .*on this machine"),
        (2, {"gpus": 0, "gpus_per_trial": 0.5}, "--gpus-per-trial 0.5 .*with --gpus 0"),
        (2, {"workers": 5, "gpus_per_trial": 0.5}, "--workers 5 is more than the 4 trainings"),
    ],
)
def test_slots_that_cannot_be_are_refused(gpus_here, asked, told):
    with pytest.raises(InputError, match=told):
        make_slots(Machine(4, (80 * GB,) * gpus_here), **asked)


def test_nothing_is_counted_where_the_memory_does_not_matter():
    def count() -> int:
        raise AssertionError("networks are counted, which takes seconds")

    make_slots(Machine(2), training_bytes=count)
    make_slots(Machine(2, (GB,)), workers=2, training_bytes=count)
    make_slots(Machine(2, (GB,)), gpus_per_trial=1.0, training_bytes=count)


def test_training_bytes_grow_with_batch_activations_and_parameters():
    small = replace(make_cost(), params=1000, activation_bytes=10**6)
    one, two = training_bytes(small, 8), training_bytes(small, 16)
    assert CONTEXT_BYTES + 8 * 10**6 < one < two < CONTEXT_BYTES + 32 * 10**6
    assert training_bytes(replace(small, params=2000), 8) == one + 20_000
    assert share_of_gpu(one, 80 * GB, 16) == 1 / MAX_PER_GPU
    assert share_of_gpu(50 * GB, 80 * GB, 16) == 1


def test_a_large_baseline_leaves_small_cards_to_fewer_trainings():
    space = load_space("fast_scnn")
    net = build_candidate(space, space.baseline, 1, 1)
    needed = training_bytes(cost(net, space.baseline.input_hw), 8)
    assert [round(1 / share_of_gpu(needed, n * GB, 16)) for n in (8, 24, 80)] == [1, 4, 8]


def test_slots_text():
    assert slots_text((Slot(),)) == "1 slot on the CPU's cores"
    assert slots_text((Slot(),) * 2) == "2 slots on the CPU's cores"
    assert slots_text(shared(0, 0, of=2)) == "2 slots on cuda:0"
    assert slots_text(shared(0, 1, 0, 1, of=2)) == "4 slots, 2 on each of 2 GPUs"
    assert slots_text(shared(0, 1, 0, of=2)) == "3 slots: 2 on cuda:0, 1 on cuda:1"


@pytest.mark.gpu
def test_this_machine_finds_its_gpus():
    found = make_slots(this_machine(), workers=1)
    assert found == (Slot("cuda:0", 1, 1.0, "cuda:0"),)
    assert all(size > GB for size in this_machine().gpu_bytes)
