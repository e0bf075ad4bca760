"""The contact with one machine: made when first needed, claimed while it is used, made anew."""

from __future__ import annotations

import getpass
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from autoseg.core.errors import DeviceError
from autoseg.core.text import bounded
from autoseg.device.replies import Busy, Hello, read
from autoseg.device.rpc import Babble, Gone, Link, Lost, Reach, Silent, Slow

Result = TypeVar("Result")

START_S = 120.0
# Asking wakes the holder's runner, which a small board feels.
CLAIM_POLL_S, BOARD_POLL_S = 0.1, 1.0
# A board that reboots is back within a minute.
RECONNECT_S, RECONNECT_PAUSE_S = 60.0, 2.0


class Hopeless(DeviceError):
    """Trying again would not help: what answers is no runner, or another machine."""


class Contact:
    """One runner on one machine. Verbs hold `turn`, so that one is spoken at a time.

    `claim` is the name that is taken on the machine while something is timed there.
    """

    def __init__(self, reach: Reach, claim: str) -> None:
        self.reach, self._name = reach, claim
        self.turn = threading.RLock()
        self._link: Link | None = None
        self._hello: Hello | None = None
        self._held_for = ""
        self._closing = False
        self._opener: int | None = None

    def link(self) -> Link:
        """The open connection. Raises DeviceError, or InputError for what the user must decide."""
        with self.turn:
            if self._link is None or not self._link.usable:
                self._drop()
                self._link = self._connect()
            return self._link

    def hello(self) -> Hello:
        """What runs there."""
        with self.turn:
            self.link()
            if self._hello is None:
                raise DeviceError(f"{self.reach.name} did not say what it is")
            return self._hello

    def ask(self, do: str, *, limit_s: float = START_S, **facts: Any) -> dict[str, Any]:
        """One request that does no harm when it is made twice."""
        return self.twice(lambda: self.link().ask(do, limit_s=limit_s, **facts))

    def twice(self, act: Callable[[], Result]) -> Result:
        """Acts, and once more after a loss."""
        with self.turn, self.named():
            try:
                return act()
            except (Lost, Silent) as error:
                self.reopen(error)
                return act()

    @contextmanager
    def named(self) -> Iterator[None]:
        """Says which machine was at fault."""
        name = self.reach.name
        try:
            yield
        except (Lost, Silent, Slow) as error:
            raise DeviceError(f"{name}: the runner {error}") from error
        except Babble as error:
            raise Hopeless(f"{name}: what answers is no runner of autoseg: {error}") from error
        except DeviceError as error:
            if type(error) is DeviceError and not str(error).startswith(name):
                raise DeviceError(f"{name}: {error}") from error
            raise

    @contextmanager
    def held(self, what: str) -> Iterator[None]:
        """Holds the machine, saying for what. Raises DeviceError naming who has it instead."""
        with self.turn:
            self.link()
            if self.reach.keeps or self._held_for:
                yield
                return
            self._held_for = what
            try:
                self.twice(lambda: self._claim(self.link()))
                yield
            finally:
                self._held_for = ""
                self._release()

    def reopen(self, why: Exception) -> None:
        """Makes a new contact after a loss. Raises DeviceError where that fails for a minute."""
        self._drop()
        tried_s = RECONNECT_S if self.reach.keeps else 0.0
        deadline = time.monotonic() + tried_s
        while True:
            if self._closing:
                raise DeviceError(f"{self.reach.name} was closed meanwhile")
            try:
                self.link()
                return
            except Hopeless:
                raise
            except Gone as error:  # it was tried for long already
                raise DeviceError(f"{error} (before: the runner {why})") from error
            except DeviceError as error:
                if time.monotonic() >= deadline:
                    raise self._gone(why, error, tried_s) from error
            time.sleep(RECONNECT_PAUSE_S)

    def _gone(self, why: Exception, error: Exception, tried_s: float) -> DeviceError:
        name = self.reach.name
        if not self.reach.keeps:
            return DeviceError(f"{name}: the runner {why}, and a new one did not start: {error}")
        return DeviceError(
            f"{name} was lost (the runner {why}) and did not come back within {tried_s:g} s: "
            f"{error}; check its power and the network"
        )

    def stop(self) -> None:
        """Makes the runner let go of what it does. Raises Lost, Silent or Slow."""
        if self._link is None:
            raise Lost("is closed")
        self._link.stop()

    def close(self) -> None:
        """Ends the runner at once, whatever it does; closing twice is fine."""
        # A forked child has a copy of this, and maybe of a turn that nobody will ever give back.
        if self._opener not in (None, os.getpid()):
            return
        link, self._closing = self._link, True
        if link:
            link.close()
        with self.turn:
            self._drop()
            self.reach.close()
            self._closing = False

    def _connect(self) -> Link:
        self._opener = os.getpid()
        with self.named():
            link = Link(self.reach.open())
            try:
                # First: a greeting makes the board import onnxruntime, beside what is timed there.
                if self.reach.keeps or self._held_for:
                    self._claim(link)
                hello = read(Hello, link.ask("hello", limit_s=START_S), "hello")
                self._recognize(hello)
            except ValueError as error:
                link.close()
                raise Babble(str(error)) from error
            except BaseException:
                link.close()
                raise
        self._hello = hello
        return link

    def _recognize(self, hello: Hello) -> None:
        """Figures of two machines, or of two runtimes, must not be mixed."""
        before = self._hello
        if before and (before.cpu, before.runtime) != (hello.cpu, hello.runtime):
            raise Hopeless(
                f"{self.reach.name} was {before.cpu} with {before.runtime} and is now {hello.cpu} "
                f"with {hello.runtime}"
            )

    def _claim(self, link: Link) -> None:
        deadline = time.monotonic() + self.reach.claim_wait_s
        who = f"process {os.getpid()} of {getpass.getuser()} on {platform.node()}"
        who += f", {self._held_for}" if self._held_for else ""
        while True:
            try:
                told = link.ask("claim", limit_s=START_S, name=self._name, who=who[:400])
                if told.get("claimed") is not True:
                    raise Babble(f"it did not say that it is ours: {bounded(told)}")
                return
            except Busy as busy:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    text = f"{self.reach.name} is being measured by {busy}"
                    wait = f"waited {self.reach.claim_wait_s:g} s, try again later"
                    raise DeviceError(f"{text}; {wait}") from busy
            time.sleep(min(left_s, BOARD_POLL_S if self.reach.keeps else CLAIM_POLL_S))

    def _release(self) -> None:
        """Lets go of the machine; where that fails, ending the runner does it."""
        try:
            if self._link and self._link.usable:
                self._link.ask("release", limit_s=10.0)
                return
        except (DeviceError, Lost, Silent, Slow, Babble):
            pass
        self._drop()

    def _drop(self) -> None:
        if self._link:
            self._link.close()
        self._link = None
