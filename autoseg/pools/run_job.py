"""One job in one slot: the training function of all pools."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import suppress

import torch

from autoseg.core.errors import AutosegError, CandidateError, DeviceError, OutOfMemory
from autoseg.core.records import Job, Trained
from autoseg.pools.slots import Slot
from autoseg.train.loop import train_job
from autoseg.train.task import Task

log = logging.getLogger(__name__)

# As CUDA, cuBLAS and cuDNN say it where torch itself does not ask for the memory: contexts and
# workspaces of trainings that share a GPU.
_NO_MEMORY = re.compile(r"out of memory|_ALLOC_FAILED", re.IGNORECASE)

# `run_job`, or what a benchmark runs in its place.
RunJob = Callable[..., Trained | CandidateError]


def run_job(
    task: Task,
    job: Job,
    slot: Slot,
    *,
    micro_batches: int = 1,
    alive: Callable[[], None] = lambda: None,
) -> Trained | CandidateError:
    """Train `job` in this process, and score it; a fault of the candidate is returned.

    Each batch is computed in `micro_batches` parts; `alive` is called after each step and each
    batch that is scored. Foreign exceptions are translated here and nowhere else. Raises
    AutosegError for what is not the candidate's fault.
    """
    torch.set_num_threads(slot.threads)
    try:
        return train_job(
            task, job, slot.device,
            micro_batches=micro_batches, memory_share=slot.memory_share, alive=alive,
        )  # fmt: skip
    except CandidateError as error:
        return error
    except AutosegError:
        raise
    except MemoryError as error:
        return OutOfMemory(f"out of memory: {error}")
    except OSError as error:
        text = f"training cannot read or write a file ({error}): fix that, then --resume"
        raise DeviceError(text) from error
    except Exception as error:  # a user's own network may raise anything
        if isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)):
            return OutOfMemory(f"out of memory: {error}")
        log.debug("%s", job, exc_info=True)
        return CandidateError(f"training failed: {type(error).__name__}: {error}")
    finally:
        if slot.kind == "cuda":  # else an idle process would keep it from the others on its GPU
            with suppress(RuntimeError):  # as after a fault of CUDA, which the pool ends it for
                torch.cuda.empty_cache()
