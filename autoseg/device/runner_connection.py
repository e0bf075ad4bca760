"""The connection to one runner: opened on first use, claims the machine, reconnects."""

from __future__ import annotations

import getpass
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from autoseg.core.errors import DeviceError, InputError
from autoseg.core.text import bounded, without_control
from autoseg.device.model_files import ModelFiles, files_of
from autoseg.device.rpc import Launcher, RpcChannel
from autoseg.device.rpc_schema import (
    CHECK_POWER,
    ConnectionLost,
    DeviceBusy,
    Hello,
    NoHeartbeat,
    NotRetryable,
    ProtocolError,
    RpcTimeout,
    parse,
)
from autoseg.device.runner import MAX_CACHE_BYTES

Result = TypeVar("Result")

START_S = 120.0
# A claim wakes the runner of the holder, which disturbs a small board.
CLAIM_POLL_S, BOARD_POLL_S = 0.1, 1.0
# A board that reboots is back within a minute.
RECONNECT_S, RECONNECT_PAUSE_S = 60.0, 2.0
# An upload that is slower counts as hung.
MIN_UPLOAD_BYTES_S = 20e3
MAX_PATH_CHARS = 4096


class Connection:
    """One runner on one machine. Calls hold `turn`, so that only one is made at a time.

    `claim` is the name that is claimed on the machine while something is timed there.
    """

    def __init__(self, launcher: Launcher, claim: str) -> None:
        self.launcher, self._claim_name = launcher, claim
        self.turn = threading.RLock()
        self._channel: RpcChannel | None = None
        self._hello: Hello | None = None
        self._held_for = ""
        self._closing = False
        self._opener: int | None = None

    @property
    def name(self) -> str:
        """The machine's name in messages."""
        return self.launcher.name

    def channel(self) -> RpcChannel:
        """The open channel. Raises DeviceError; InputError where the user must decide."""
        with self.turn:
            if self._channel is None or not self._channel.usable:
                self._channel = self.reopen()
            return self._channel

    def hello(self) -> Hello:
        """Facts of the machine that do not change."""
        with self.turn:
            self.channel()
            if self._hello is None:
                raise DeviceError(f"{self.name} did not describe itself")
            return self._hello

    def ask(self, do: str, **facts: Any) -> dict[str, Any]:
        """The reply to one idempotent request."""
        return self.twice(lambda: self.channel().ask(do, limit_s=START_S, **facts))

    def twice(self, act: Callable[[], Result]) -> Result:
        """The result of `act`, repeated once after a lost connection."""
        with self.turn, self.named():
            try:
                return act()
            except (ConnectionLost, NoHeartbeat) as error:
                self.reopen(error)
                return act()

    def upload(self, onnx: Path) -> str:
        """The path of a model there: ours where files are shared, else in the machine's cache.

        All files of a model travel. Raises InputError and the errors of `rpc_schema`.
        """
        if self.launcher.shares_files:
            return str(onnx)
        files, channel = files_of(onnx), self.channel()
        digest = files.digest
        path = channel.ask("has", limit_s=START_S, digest=digest).get("path")
        if path is None:
            path = self._put(files, channel)
        # The path is opened there and shown in messages.
        if not isinstance(path, str) or not path.endswith(f"{digest}.onnx"):
            raise ProtocolError(f"no path of the uploaded model: {bounded(path)}")
        if path != without_control(path)[:MAX_PATH_CHARS]:
            raise ProtocolError(f"an impossible path of the uploaded model: {bounded(path)}")
        return path

    def _put(self, files: ModelFiles, channel: RpcChannel) -> Any:
        if files.size_bytes > MAX_CACHE_BYTES:
            raise InputError(
                f"the files of {files.onnx.name} have {files.size_bytes >> 20} MiB, and a board "
                f"keeps {MAX_CACHE_BYTES >> 20} MiB at most; measure a smaller model"
            )
        weights = {name: path.read_bytes() for name, path in files.weights.items()}
        data = b"".join((files.onnx.read_bytes(), *weights.values()))
        limit_s = START_S + len(data) / MIN_UPLOAD_BYTES_S
        sizes = {name: len(content) for name, content in weights.items()}
        reply = channel.ask(
            "put", limit_s=limit_s, payload=data, digest=files.digest, weights=sizes
        )
        return reply.get("path")

    @contextmanager
    def named(self) -> Iterator[None]:
        """Names the machine in every error, and turns errors of `rpc_schema` into public ones."""
        name = self.name
        try:
            yield
        except (ConnectionLost, NoHeartbeat, RpcTimeout) as error:
            raise DeviceError(f"{name}: the runner {error}") from error
        except ProtocolError as error:
            raise NotRetryable(
                f"{name}: the reply is not from autoseg's runner: {error}"
            ) from error
        except DeviceError as error:
            if type(error) is DeviceError and not str(error).startswith(name):
                raise DeviceError(f"{name}: {error}") from error
            raise

    @contextmanager
    def held(self, purpose: str) -> Iterator[None]:
        """Claims the machine; other processes are shown the purpose.

        Raises DeviceError naming the holder where it stays claimed.
        """
        with self.turn:
            self.channel()
            if self.launcher.keeps_claim or self._held_for:
                yield
                return
            self._held_for = purpose
            try:
                self.twice(lambda: self._claim(self.channel()))
                yield
            finally:
                self._held_for = ""
                self._release()

    def reopen(self, why: Exception | None = None) -> RpcChannel:
        """Connects after the loss `why`, after an unnoticed one, or for the first time.

        A board that was connected before may be booting: retries for RECONNECT_S. Raises as
        `channel`.
        """
        self._drop()
        known_board = self.launcher.keeps_claim and self._hello is not None
        deadline = time.monotonic() + (RECONNECT_S if known_board else 0.0)
        while True:
            if self._closing:
                raise DeviceError(f"{self.name} was closed meanwhile")
            try:
                self._channel = self._connect()
                return self._channel
            except NotRetryable:
                raise
            except DeviceError as error:
                if time.monotonic() >= deadline:
                    if not known_board and why is None:
                        raise
                    raise self._not_back(why, error) from error
            time.sleep(RECONNECT_PAUSE_S)

    def _not_back(self, why: Exception | None, error: Exception) -> DeviceError:
        name = self.name
        if not self.launcher.keeps_claim:
            return DeviceError(f"{name}: the runner {why}, and a new one did not start: {error}")
        lost = f"was lost (the runner {why})" if why else "was lost"
        lost += f" and did not come back within {RECONNECT_S:g} s"
        cause = str(error).removesuffix(f"; {CHECK_POWER}")
        return DeviceError(f"{name} {lost}: {cause}; {CHECK_POWER}")

    def stop(self) -> None:
        """Makes the runner abort its work. Raises the errors of `rpc_schema`."""
        if self._channel is None:
            raise ConnectionLost("is closed")
        self._channel.stop()

    def close(self) -> None:
        """Ends the runner at once, even while it works; closing twice is fine."""
        # A fork has a copy of this, maybe with a `turn` that no thread of the fork releases.
        if self._opener not in (None, os.getpid()):
            return
        channel, self._closing = self._channel, True
        if channel:
            channel.close()
        with self.turn:
            self._drop()
            self.launcher.close()
            self._closing = False

    def _connect(self) -> RpcChannel:
        self._opener = os.getpid()
        with self.named():
            channel = RpcChannel(self.launcher.open())
            try:
                # Before "hello", which imports onnxruntime there and would disturb a timing.
                if self.launcher.keeps_claim or self._held_for:
                    self._claim(channel)
                hello = parse(Hello, channel.ask("hello", limit_s=START_S), "hello")
                self._recognize(hello)
            except BaseException:
                channel.close()
                raise
        self._hello = hello
        return channel

    def _recognize(self, hello: Hello) -> None:
        """Raises where the machine or its runtime changed: figures must not be mixed."""
        before = self._hello
        if before and (before.cpu, before.runtime) != (hello.cpu, hello.runtime):
            raise NotRetryable(
                f"{self.name} was {before.cpu} with {before.runtime} and is now {hello.cpu} "
                f"with {hello.runtime}"
            )

    def _claim(self, channel: RpcChannel) -> None:
        deadline = time.monotonic() + self.launcher.claim_wait_s
        who = f"process {os.getpid()} of {_login()} on {platform.node()}"
        who += f", {self._held_for}" if self._held_for else ""
        while True:
            try:
                reply = channel.ask("claim", limit_s=START_S, name=self._claim_name, who=who[:400])
                if reply.get("claimed") is not True:
                    raise ProtocolError(f"no confirmation of the claim: {bounded(reply)}")
                return
            except DeviceBusy as busy:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    text = f"{self.name} is being measured by {busy}"
                    wait = f"waited {self.launcher.claim_wait_s:g} s, try again later"
                    raise NotRetryable(f"{text}; {wait}") from busy
            time.sleep(min(left_s, BOARD_POLL_S if self.launcher.keeps_claim else CLAIM_POLL_S))

    def _release(self) -> None:
        """Releases the claim; where that fails, ending the runner does."""
        try:
            if self._channel and self._channel.usable:
                self._channel.ask("release", limit_s=10.0)
                return
        except (DeviceError, ConnectionLost, NoHeartbeat, RpcTimeout, ProtocolError):
            pass
        self._drop()

    def _drop(self) -> None:
        if self._channel:
            self._channel.close()
        self._channel = None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container that runs as a number
        return f"user {os.getuid()}"
