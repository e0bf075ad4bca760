"""Ray Tune places the slots: each is a trial, started again where its process or node is lost."""

from __future__ import annotations

import os
import queue
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from autoseg.pools.ray.files import files_actor, mark, unmark
from autoseg.pools.ray.layout import Layout
from autoseg.pools.ray.slot import work
from autoseg.pools.run_job import RunJob
from autoseg.train.task import Task

DIED = re.compile(r"The actor (?:is dead|died) because its (\S+)")
MAX_CAUSE_CHARS = 300
MAX_SLOTS = 4096  # where the user names no number: as many as there is room for


class Placement:
    """The thread in which Tune runs until it is `over`. `lost` holds the trials that failed, and
    why.
    """

    def __init__(self, mailbox: Any, task: Task, run: RunJob, layout: Layout) -> None:
        self.lost: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.over = False
        self._folder = _folder()
        self._task, self._marked, files = task, mark(task), files_actor(task)
        given = {"mailbox": mailbox, "files": files, "task": task, "marked": self._marked}
        given |= {"run": run, "share": layout.share, "folder": os.getcwd()}
        self._tuner = _tuner(self, given, self._folder, layout)
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the trials have ended, after `over` was set."""
        self._thread.join(timeout_s)
        shutil.rmtree(self._folder, ignore_errors=True)
        unmark(self._task, self._marked)

    def _fit(self) -> None:
        try:
            self._tuner.fit()
        except BaseException as error:  # told by the thread that waits for jobs
            self.error = error


def _folder() -> str:
    """For what Tune writes, among Ray's own files: it makes the same folder on every node."""
    import ray

    session = ray._private.worker._global_node.get_session_dir_path()
    return tempfile.mkdtemp(prefix="autoseg-", dir=session)


def _follower(placement: Placement) -> Any:
    """Hears of lost trials for a placement, and ends the experiment when it is over."""
    from ray import tune
    from ray.tune.progress_reporter import TrialProgressCallback

    class Follow(TrialProgressCallback, tune.Stopper):  # type: ignore[misc]
        """In place of Tune's own callback, which prints on stdout whatever the verbosity."""

        def on_trial_result(self, *args: Any, **info: Any) -> None:
            pass

        on_trial_complete = on_trial_result

        def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            placement.lost.put((trial.trial_id, _cause(trial)))

        on_trial_error = on_trial_recover

        def __call__(self, trial_id: str, result: Any) -> bool:
            return False

        def stop_all(self) -> bool:
            return placement.over

        def __deepcopy__(self, memo: Any) -> Any:
            return self

        def __reduce__(self) -> Any:  # Tune saves what it would restore from; nothing does
            return object, ()

    return Follow()


def _tuner(placement: Placement, given: dict[str, Any], folder: str, layout: Layout) -> Any:
    from ray import tune

    follow = _follower(placement)
    trainable = tune.with_parameters(work, **given)
    return tune.Tuner(
        tune.with_resources(trainable, layout.resources),
        tune_config=tune.TuneConfig(num_samples=layout.slots or MAX_SLOTS),
        run_config=tune.RunConfig(
            storage_path=folder,
            verbose=0,
            stop=follow,
            callbacks=[follow],
            failure_config=tune.FailureConfig(max_failures=-1),
        ),
    )


def _cause(trial: Any) -> str:
    """Why a trial was lost: what Ray says of its process or node, or the error that it raised."""
    try:
        text = Path(trial.error_file).read_text(errors="replace")
    except OSError:
        return "unknown"
    last = text[text.rfind("Failure # ") :].strip()
    died = DIED.search(last)
    return f"its {died[1]} died" if died else last.splitlines()[-1][:MAX_CAUSE_CHARS]
