"""Slots: one a core without GPUs, and spread over the GPUs where there are some."""

import os

import pytest

from autoseg.core import cpus
from autoseg.pools import slots
from autoseg.pools.slots import Slot, default_slots


def test_default_slots_are_one_a_core_with_one_thread_each(monkeypatch):
    monkeypatch.setattr(slots, "_gpus", lambda: 0)
    assert default_slots() == (Slot("cpu", 1),) * len(os.sched_getaffinity(0))
    assert default_slots(3) == (Slot("cpu", 1),) * 3


def test_default_slots_follow_the_quota_of_the_control_group(monkeypatch):
    monkeypatch.setattr(slots, "_gpus", lambda: 0)
    monkeypatch.setattr(cpus, "cpu_quota", lambda root: 0.5)
    assert default_slots() == (Slot("cpu", 1),)


def test_default_slots_are_one_a_gpu_and_share_them_evenly(monkeypatch):
    monkeypatch.setattr(slots, "_gpus", lambda: 2)
    assert [slot.device for slot in default_slots()] == ["cuda:0", "cuda:1"]
    assert [slot.device for slot in default_slots(3)] == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.gpu
def test_default_slots_find_a_gpu():
    assert default_slots(1) == (Slot("cuda:0", 1),)
