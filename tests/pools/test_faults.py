"""What pools do about jobs that do not fit into memory, and about lost workers."""

import dataclasses

import pytest
from pools.jobs import candidates

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job
from autoseg.pools.faults import Faults, relief
from autoseg.pools.protocol import MAX_LOSSES
from autoseg.pools.slots import Slot

SHARE = Slot("cuda:0", 1, 0.5, "cuda:0")


@pytest.mark.parametrize(
    ("slot", "shared", "others", "parts", "answer"),
    [
        (Slot(), 0, 0, 1, "fail"),  # on a CPU anything may have taken the memory
        (SHARE, 3, 3, 1, "retire"),
        (SHARE, 3, 2, 1, "again"),  # another has retired meanwhile: there may be room now
        (SHARE, 1, 0, 1, "again"),
        (SHARE, 0, 0, 1, "halve"),
        (SHARE, 0, 0, 4, "halve"),
        (SHARE, 0, 0, 8, "fail"),  # one picture at a time does not fit
        (SHARE, 2, 2, 8, "retire"),
    ],
)
def test_relief_is_room_first_then_a_smaller_batch(slot, shared, others, parts, answer):
    assert relief(slot, shared=shared, others=others, parts=parts, batch=8) == answer


def test_many_that_do_not_fit_at_once_cost_one_slot(task):
    faults, jobs = Faults(task), [Job(candidate, 0, 1) for candidate in candidates(task)[:3]]
    others, answers = 2, []
    for job in jobs:
        answers.append(faults.out_of_memory(job, SHARE, shared=2, others=others))
        others -= answers[-1] == "retire"
    assert answers == ["retire", "again", "again"]


def test_a_candidates_batch_is_halved_until_one_picture_is_left_and_stays_so(task):
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, batch=3))
    faults, (first, other) = Faults(task), candidates(task)[:2]
    job, parts = Job(first, 0, 1), []
    while faults.out_of_memory(job, SHARE, shared=0, others=0) == "halve":
        parts.append(faults.micro_batches(job))
    assert parts == [2, 3]
    assert faults.micro_batches(Job(first, 1, 2)) == 3
    assert faults.micro_batches(Job(other, 0, 1)) == 1
    assert [first.key in text for text in faults.changes] == [True, True]


def test_lost_workers_count_for_each_job_alone(task):
    faults, first = Faults(task), candidates(task)[0]
    one, next_one = Job(first, 0, 1), Job(first, 1, 2)
    answers = [faults.lost(one, "by signal 9") for _ in range(MAX_LOSSES)]
    assert answers[:-1] == [None] * (MAX_LOSSES - 1)
    assert isinstance(answers[-1], CandidateError)
    assert str(answers[-1]) == (
        "its worker was ended 3 times, last by signal 9; out of memory ends so"
    )
    assert faults.lost(next_one, "by signal 9") is None
