"""What a pool does about a job that did not fit into memory, or whose worker was lost.

Each pool has one `Faults`; which slots there are, and how a job is run again, is the pool's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job
from autoseg.pools.protocol import MAX_LOSSES
from autoseg.pools.slots import Slot
from autoseg.train.task import Task, task_for

Relief = Literal["again", "retire", "halve", "fail"]


def relief(slot: Slot, *, shared: int, others: int, parts: int, batch: int) -> Relief:
    """What is done about a job that did not fit into the memory of its slot.

    So many other slots `shared` its GPU when it began, and `others` do now. If there are fewer
    now, there may be room: it is run again. Else its slot retires, as long as there are others.
    Alone, the batch is computed in more parts than `parts`. A batch of one that does not fit is
    the candidate's fault, and so is all that does not fit on a CPU, where no slot has a share.
    """
    if slot.gpu is None:
        return "fail"
    if others < shared:
        return "again"
    if others:
        return "retire"
    return "halve" if parts < batch else "fail"


@dataclass
class Faults:
    """The lost workers of each job, and the parts of each candidate's batches.

    `changes` tells of both in words, for the ledger.
    """

    task: Task
    changes: list[str] = field(default_factory=list)
    _losses: Counter[str] = field(default_factory=Counter)
    _parts: dict[str, int] = field(default_factory=dict)

    def micro_batches(self, job: Job) -> int:
        """In how many parts a batch of its candidate is computed."""
        return self._parts.get(job.candidate.key, 1)

    def lost(self, job: Job, how: str, *, counts: bool = True) -> CandidateError | None:
        """Count a lost worker of a job; None where the job is to be run again.

        `how` says what ended the worker, such as "by signal 9". A machine that went away does not
        count.
        """
        self._losses[job.id] += counts
        key, times = job.candidate.key, self._losses[job.id]
        if times < MAX_LOSSES:
            self.changes.append(
                f"the worker that trained {key} was ended {how}: another goes on from the last "
                "checkpoint"
            )
            return None
        return CandidateError(
            f"its worker was ended {times} times, last {how}; out of memory ends so"
        )

    def out_of_memory(self, job: Job, slot: Slot, *, shared: int, others: int) -> Relief:
        """`relief` for a job of this pool; all but "fail" run it again, first of all jobs."""
        key, parts = job.candidate.key, self.micro_batches(job)
        batch = task_for(self.task, job.candidate).recipe.batch
        found = relief(slot, shared=shared, others=others, parts=parts, batch=batch)
        if found == "retire":
            self.changes.append(
                f"{key} does not fit into the memory of {slot.gpu} beside {others} other(s): one "
                "slot less there"
            )
        elif found == "halve":
            self._parts[key] = min(2 * parts, batch)
            self.changes.append(
                f"{key} does not fit into the memory of {slot.gpu}: its batch of {batch} is "
                f"computed in {self._parts[key]} parts"
            )
        return found
