"""Jobs of the tiny space for the tests of the pools."""

from autoseg.core.errors import CandidateError
from autoseg.core.records import Job, Score
from autoseg.pools.protocol import Pool, Trained

FOREVER = 100_000  # epochs


def candidates(task):
    return [task.space.candidate(resolution=r, a=a) for r in (64, 96) for a in (0.125, 0.25)]


def outcomes(pool: Pool, count: int) -> dict[Job, Score | CandidateError]:
    found = {}
    while len(found) < count:
        assert pool.running
        for job, outcome in pool.wait(5.0):
            found[job] = outcome.score if isinstance(outcome, Trained) else outcome
    return found
