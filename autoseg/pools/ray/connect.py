"""Starts Ray here, or joins a cluster; nothing of it is imported before one is asked for."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import autoseg
from autoseg.core.errors import DeviceError, InputError
from autoseg.pools.local import environment
from autoseg.pools.ray.layout import Wanted
from autoseg.pools.ray.mailbox import MAX_MESSAGES_AT_ONCE, Mailbox
from autoseg.pools.slots import Slot, make_slots, this_machine
from autoseg.train.task import Task

# Read by Ray when it is imported. What a user has set stays.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the future default; else Ray warns of it
    "RAY_ENABLE_AUTO_CONNECT": "0",  # else Tune's thread connects again while a pool closes
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # One trial waits for room at a time: a cluster that grows on demand grows node by node.
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1e9",
}
CONNECT_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 10.0


def require_ray() -> None:
    """Raises InputError where Ray is not installed."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not all(importlib.util.find_spec(name) for name in ("ray", "pyarrow", "tensorboardX")):
        raise InputError("--pool ray needs Ray Tune: pip install 'autoseg[ray]'")


class Connection:
    """Ray on this machine (`address` None), or the cluster there ("auto": of this node), and the
    mailbox on it. A program that is connected already stays so when this is closed.

    Raises InputError for an address where no cluster answers, or that refuses the token.
    """

    def __init__(self, address: str | None, task: Task, wanted: Wanted) -> None:
        require_ray()
        here = _own_machine(wanted) if address is None else {"address": address}
        import ray

        self._ours = not ray.is_initialized()
        try:
            if self._ours:
                _require_answer(address)
                _initialize(task, here)
            self.mailbox = _mailbox()
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if self._ours:
                ray.shutdown()
            raise _refused(address, error) from error
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # the pool tells the slots' faults

    def close(self) -> None:
        """End what was started; closing twice is fine."""
        import ray

        if self._ours:
            ray.shutdown()
        elif self.mailbox is not None:
            ray.kill(self.mailbox)
        self.mailbox, self._ours = None, False


def _require_answer(address: str | None) -> None:
    """Raises OSError where nothing listens there: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), ANSWER_TIMEOUT_S).close()


def _own_machine(wanted: Wanted) -> dict[str, Any]:
    """What Ray is told of this machine: as many CPUs and GPUs as the local pool would use."""
    slots = make_slots(
        this_machine(with_gpus=wanted.gpus != 0),
        workers=wanted.workers,
        gpus=wanted.gpus,
        gpus_per_trial=wanted.gpus_per_trial,
        training_bytes=wanted.training_bytes,
    )
    gpus = {slot.gpu for slot in slots} - {None}
    own = {"num_cpus": len(slots), "num_gpus": len(gpus), "include_dashboard": False}
    return {"address": "local", **own}  # else Ray takes what is started here already


def _initialize(task: Task, where: dict[str, Any]) -> None:
    import ray

    # Whatever it is told, Ray prints lost workers on stdout, where a command's result goes.
    ray._private.worker.print_to_stdstream = lambda *data, **how: None
    with _own_signals(), _own_token(), redirect_stdout(sys.stderr):
        ray.init(
            **where,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env={"py_modules": modules_of(task), "env_vars": environment(Slot())},
        )


def _mailbox() -> Any:
    """The mailbox, on this node, once it answers: what a cluster refuses shows here first."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": MAX_MESSAGES_AT_ONCE}
    mailbox: Any = ray.remote(Mailbox).options(**options, scheduling_strategy=here).remote()
    ray.get(mailbox.collect.remote(0.0), timeout=CONNECT_TIMEOUT_S)
    return mailbox


def modules_of(task: Task) -> list[str]:
    """The code that travels to the nodes: autoseg, and a user's own networks and augmentation."""
    names = [task.space.network]
    names += [task.augmentation.source] if task.augmentation else []
    found = [str(Path(autoseg.__file__).parent)]
    for name in names:
        top = name.partition(":")[0].partition(".")[0] if ":" in name else ""
        spec = importlib.util.find_spec(top) if top not in ("", "autoseg", "__main__") else None
        if spec is None:
            continue
        # A package's folder; without an __init__.py it may have several.
        places = [*(spec.submodule_search_locations or [spec.origin or ""])]
        installed = sysconfig.get_path("purelib")  # on the nodes too
        found += [p for p in places if p and not Path(p).is_relative_to(installed)]
    return found


def _refused(address: str | None, error: Exception) -> InputError | DeviceError:
    said = " ".join(str(error).split())[:300]
    if address is None:
        return DeviceError(f"Ray could not be started here: {said}")
    return InputError(
        f"--pool {address}: no Ray cluster could be joined there ({said}). This machine must be "
        "one of its nodes. They are started with `ray start`, with RAY_AUTH_MODE=token and the "
        "same token everywhere (`ray get-auth-token --generate`), and with the versions of Python "
        "and Ray that are used here"
    )


@contextmanager
def _own_token() -> Iterator[None]:
    """Ray makes a token where there is none, and lets all users of the machine read it."""
    path = Path.home() / ".ray" / "auth_token"
    there = path.exists()
    try:
        yield
    finally:
        if not there and path.exists():
            path.chmod(0o600)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM: a run has its own."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
