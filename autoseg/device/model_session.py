"""Models open on a board: timed and run there, through lost connections."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.text import bounded
from autoseg.device import machine_state
from autoseg.device.rpc import ConnectionLost, NoHeartbeat, ProtocolError, RpcTimeout, RunnerExited
from autoseg.device.rpc_schema import (
    Block,
    ClassMapSize,
    OpenedModels,
    Record,
    StateAfter,
    WarmUp,
    read,
)
from autoseg.device.runner_connection import Connection
from autoseg.device.timing import BlockRequest

Image = npt.NDArray[np.uint8]
Result = TypeVar("Result")

# Loading, and one run of the slowest model.
LOAD_S = 120.0
# Losses in one request: of the runner alone, which a model may kill, and of any kind.
MAX_EXITS, MAX_LOSSES = 2, 4
# What a class map may have more than its frame has bytes.
MAX_MAP_GROWTH = 4


class SessionHost(Protocol):
    """The part of a board that a model session needs."""

    @property
    def connection(self) -> Connection: ...
    def settings(self) -> dict[str, Any]:
        """The options that every session on the board is opened with."""

    def upload(self, onnx: Path) -> str:
        """The path of a model on the board. Raises Lost, Silent, Slow and Babble."""


class ModelSession:
    """Some models open on a board, by name, until it opens others.

    A runner that is lost is started again, and the models with it. Where it ended twice in a row
    in one request, it is the model's fault; the connection never is. Every verb raises
    CandidateError, InputError or DeviceError.
    """

    def __init__(self, board: SessionHost, models: Mapping[str, Path], doing: str) -> None:
        self.after: StateAfter | None = None
        self._board, self._models, self._doing = board, models, doing
        self._warm: dict[str, float] = {}
        self._losses: list[Exception] = []
        self.opened: OpenedModels = self._persist(self._open)

    def warm(self, model: str, warmup_s: float) -> int:
        """Runs a model untimed until it is steady; the number of runs."""
        self._warm[model] = warmup_s
        return self._persist(lambda: self._warm_up(model, warmup_s))

    def blocks(self, wanted: Sequence[BlockRequest]) -> Iterator[Block]:
        """Times blocks in turn; only the one under way is timed again after a loss."""
        left = list(wanted)
        while left:
            came: list[Block] = []
            self._persist(functools.partial(self._time, left, came))
            yield from came

    def class_map(self, model: str, image: Image) -> Image:
        """The class map (uint8, H x W) of one frame (uint8, H x W x C)."""
        if image.dtype != np.uint8:
            shapes = [fed.shape[1:] for fed in self.opened.inputs[model]]
            text = (
                f"a frame must be uint8 of shape {shapes[0] if shapes else []}, got {image.dtype}"
            )
            raise InputError(f"{text} {list(image.shape)}; resize it first")
        return self._persist(lambda: self._run(model, image))

    def _open(self) -> OpenedModels:
        places = {name: self._upload(path) for name, path in self._models.items()}
        try:
            answer = self._ask("open", models=places, plan=self._board.settings())
        except CandidateError as error:
            # The user knows the file by its name here.
            text = str(error)
            for name, place in places.items():
                text = text.replace(place, str(self._models[name]))
            raise CandidateError(text) from error
        opened = _read(OpenedModels, answer, "opened")
        parts = (opened.load_ms, opened.first_ms, opened.inputs)
        if not all(set(part) == set(places) for part in parts):
            raise ProtocolError("it opened other models than it was asked to")
        return opened

    def _upload(self, path: Path) -> str:
        """No model is to blame for what happens before it runs."""
        try:
            return self._board.upload(path)
        except RunnerExited as error:
            raise ConnectionLost(str(error)) from error
        except RpcTimeout as error:
            text = f"sending {path.name} ({path.stat().st_size} bytes) took too long"
            raise DeviceError(f"{text}; check the network") from error

    def _reopen(self) -> None:
        self.opened = self._open()
        for model, warmup_s in self._warm.items():
            self._warm_up(model, warmup_s)

    def _warm_up(self, model: str, warmup_s: float) -> int:
        answer = self._ask("warm", 3 * warmup_s, model=model, warmup_s=warmup_s)
        return _read(WarmUp, answer, "warm").runs

    def _time(self, left: list[BlockRequest], came: list[Block]) -> None:
        """Moves the blocks that come from those left to those that came, also before a loss."""
        limit_s = LOAD_S + 2 * sum(wanted.max_s for wanted in left)
        asked = [dataclasses.asdict(wanted) for wanted in left]
        timed: StateAfter | None = None
        for answer in self._board.connection.channel().stream(
            "time", limit_s=limit_s, blocks=asked
        ):
            if "block" not in answer:
                timed = _read(StateAfter, answer, "timed")
                continue
            block = _read(Block, answer, "block")
            if not left or block.model != left[0].model:
                raise ProtocolError(f"a block of {bounded(block.model)!r} that nobody asked for")
            del left[0]
            came.append(block)
        if left or timed is None:
            raise ProtocolError("it timed fewer blocks than it was asked to")
        self.after = timed if self.after is None else machine_state.merge_state(self.after, timed)

    def _run(self, model: str, image: Image) -> Image:
        payload, shape = np.ascontiguousarray(image).tobytes(), list(image.shape)
        answer = self._ask("run", payload=payload, model=model, shape=shape)
        height, width = _read(ClassMapSize, answer, "map").shape
        if height * width > MAX_MAP_GROWTH * image.size:
            raise ProtocolError(
                f"a class map of {height} x {width} for a frame of {image.size} bytes"
            )
        inflate = zlib.decompressobj()
        try:
            pixels = inflate.decompress(answer["raw"], height * width + 1)
        except zlib.error as error:
            raise ProtocolError(f"a class map that cannot be inflated: {error}") from error
        if len(pixels) != height * width:
            raise ProtocolError(f"a class map of {height} x {width} with another number of pixels")
        return np.frombuffer(pixels, np.uint8).reshape(height, width)

    def _ask(
        self, do: str, more_s: float = 0.0, payload: bytes = b"", **facts: Any
    ) -> dict[str, Any]:
        channel = self._board.connection.channel()
        return channel.ask(do, limit_s=LOAD_S + more_s, payload=payload, **facts)

    def _persist(self, act: Callable[[], Result]) -> Result:
        """Acts, and acts again after a loss."""
        self._losses = []
        with self._board.connection.named():
            while True:
                try:
                    return act()
                except (ConnectionLost, NoHeartbeat) as error:
                    self._lost(error)
                except RpcTimeout as error:
                    self._slow(error)
                except CandidateError as error:
                    if self._doing in str(error):
                        raise
                    raise CandidateError(f"{self._doing}: {error}") from error

    def _lost(self, error: Exception) -> None:
        while True:
            self._board.connection.reopen(error)
            self._count(error)
            try:
                return self._reopen()
            except (ConnectionLost, NoHeartbeat) as again:
                error = again
            except RpcTimeout as slow:
                self._slow(slow)

    def _count(self, error: Exception) -> None:
        self._losses.append(error)
        ended = sum(isinstance(each, RunnerExited) for each in self._losses)
        if ended >= MAX_EXITS:
            text = f"the runner was lost {ended} times while {self._doing}"
            raise CandidateError(f"{text} (often: out of memory); last: it {error}") from error
        if len(self._losses) >= MAX_LOSSES:
            text = f"was lost {len(self._losses)} times in a row while {self._doing}"
            raise DeviceError(
                f"{self._board.connection.name} {text}; last: the runner {error}; "
                "check its power and the network"
            ) from error

    def _slow(self, error: RpcTimeout) -> None:
        """A machine that can still let go of the model is not at fault."""
        try:
            self._board.connection.stop()
        except (ConnectionLost, NoHeartbeat, RpcTimeout) as silence:
            return self._lost(silence)
        raise CandidateError(f"{self._doing}: the model {error}") from error


def _read(kind: type[Record], answer: Mapping[str, Any], key: str) -> Record:
    try:
        return read(kind, answer, key)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
