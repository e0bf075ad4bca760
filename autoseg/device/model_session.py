"""A session of models on a board, timed and run there in spite of lost connections."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from autoseg.core.errors import CandidateError, DeviceError, InputError
from autoseg.core.text import bounded
from autoseg.core.units import HW
from autoseg.data import resize
from autoseg.device.model_files import files_of
from autoseg.device.rpc_schema import (
    CHECK_POWER,
    Block,
    ClassMapSize,
    ConnectionLost,
    NoHeartbeat,
    OpenedModels,
    ProtocolError,
    RpcTimeout,
    RunnerExited,
    StateAfter,
    WarmUp,
    parse,
)
from autoseg.device.runner_connection import Connection
from autoseg.device.timing import BlockRequest

Image = npt.NDArray[np.uint8]
Result = TypeVar("Result")

# Limit for loading a model, and for one run of the slowest.
LOAD_S = 120.0
# Losses within one request: exits of the runner, which a model may cause, and losses of any kind.
MAX_EXITS, MAX_LOSSES = 2, 4
# Pixels of a class map over bytes of its frame.
MAX_MAP_PER_FRAME_BYTE = 4


@contextmanager
def locally_named(files: Mapping[str, Path]) -> Iterator[None]:
    """A CandidateError names files by their paths here, which are the ones that the user knows."""
    try:
        yield
    except CandidateError as error:
        text = str(error)
        for there, here in files.items():
            text = text.replace(there, str(here))
        raise CandidateError(text) from error


def _frames(sizes: Mapping[str, HW]) -> dict[str, dict[str, Any]]:
    """What a runner needs for the one resize: it has no other code of ours."""
    source = Path(resize.__file__).read_text() if sizes else ""
    return {name: {"hw": [*hw], "resize": source} for name, hw in sizes.items()}


class ModelSession:
    """Models, by name, that are open on a board until it opens others, all with one `plan`.

    Those in `frames` are timed with both resizes, from a picture of that size to its class map. A
    `fresh` session runs in a program started anew there.

    After a lost connection the runner is started and the models are opened again. A runner that
    exits twice in one request is the model's fault; a lost connection never is. Every method
    raises CandidateError, InputError or DeviceError.
    """

    def __init__(
        self,
        connection: Connection,
        plan: dict[str, Any],
        models: Mapping[str, Path],
        doing: str,
        *,
        frames: Mapping[str, HW] | None = None,
        fresh: bool = False,
    ) -> None:
        self.after: StateAfter | None = None
        self._connection, self._plan, self._models, self._doing = connection, plan, models, doing
        self._how: dict[str, Any] = {"frames": _frames(frames or {}), "fresh": fresh}
        self._warm: dict[str, float] = {}
        self.opened: OpenedModels = self._persist(self._open)

    def warm(self, model: str, warmup_s: float) -> int:
        """Runs a model untimed until its times are steady; returns the number of runs."""
        self._warm[model] = warmup_s
        return self._persist(lambda: self._warm_up(model, warmup_s))

    def blocks(self, wanted: Sequence[BlockRequest]) -> Iterator[Block]:
        """Times blocks in order; after a loss only the current one is timed again."""
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
        with locally_named({place: self._models[name] for name, place in places.items()}):
            reply = self._ask("open", models=places, plan=self._plan, **self._how)
        opened = parse(OpenedModels, reply, "opened")
        parts = (opened.load_ms, opened.first_ms, opened.inputs)
        if not all(set(part) == set(places) for part in parts):
            raise ProtocolError("it opened other models than requested")
        return opened

    def _upload(self, path: Path) -> str:
        """Uploads a model; no failure before its first run is the model's fault."""
        try:
            return self._connection.upload(path)
        except RunnerExited as error:
            raise ConnectionLost(str(error)) from error
        except RpcTimeout as error:
            size = files_of(path).size_bytes
            text = f"sending {path.name} ({size} bytes) took too long"
            raise DeviceError(f"{text}; check the network") from error

    def _warm_up(self, model: str, warmup_s: float) -> int:
        reply = self._ask("warm", 3 * warmup_s, model=model, warmup_s=warmup_s)
        return parse(WarmUp, reply, "warm").runs

    def _time(self, left: list[BlockRequest], came: list[Block]) -> None:
        """Moves each timed block from `left` to `came`, so that a loss keeps the earlier ones."""
        limit_s = LOAD_S + 2 * sum(wanted.max_s for wanted in left)
        blocks = [dataclasses.asdict(wanted) for wanted in left]
        timed: StateAfter | None = None
        channel = self._connection.channel()
        for reply in channel.stream("time", limit_s=limit_s, blocks=blocks):
            if "block" not in reply:
                timed = parse(StateAfter, reply, "timed")
                continue
            block = parse(Block, reply, "block")
            if not left or block.model != left[0].model:
                raise ProtocolError(f"a block of {bounded(block.model)!r} that was not requested")
            del left[0]
            came.append(block)
        if left or timed is None:
            raise ProtocolError("it timed fewer blocks than requested")
        self.after = timed if self.after is None else self.after.merged(timed)

    def _run(self, model: str, image: Image) -> Image:
        payload, shape = np.ascontiguousarray(image).tobytes(), list(image.shape)
        reply = self._ask("run", payload=payload, model=model, shape=shape)
        height, width = parse(ClassMapSize, reply, "map").shape
        if height * width > MAX_MAP_PER_FRAME_BYTE * image.size:
            raise ProtocolError(
                f"a class map of {height} x {width} for a frame of {image.size} bytes"
            )
        inflate = zlib.decompressobj()
        try:
            pixels = inflate.decompress(reply["raw"], height * width + 1)
        except zlib.error as error:
            raise ProtocolError(f"a class map that cannot be inflated: {error}") from error
        if len(pixels) != height * width:
            raise ProtocolError(f"a class map of {height} x {width} with another number of pixels")
        return np.frombuffer(pixels, np.uint8).reshape(height, width)

    def _ask(
        self, do: str, more_s: float = 0.0, payload: bytes = b"", **facts: Any
    ) -> dict[str, Any]:
        channel = self._connection.channel()
        return channel.ask(do, limit_s=LOAD_S + more_s, payload=payload, **facts)

    def _persist(self, act: Callable[[], Result]) -> Result:
        """The result of `act`, repeated after each lost connection."""
        losses: list[Exception] = []
        with self._connection.named():
            while True:
                try:
                    if losses:
                        self._reopen(losses)
                    return act()
                except (ConnectionLost, NoHeartbeat) as error:
                    losses.append(error)
                except RpcTimeout as error:
                    losses.append(self._abort(error))
                except CandidateError as error:
                    if self._doing in str(error):
                        raise
                    raise CandidateError(f"{self._doing}: {error}") from error

    def _reopen(self, losses: Sequence[Exception]) -> None:
        """Starts the runner, and opens and warms the models again."""
        self._connection.reopen(losses[-1])
        self._raise_if_too_many(losses)
        self.opened = self._open()
        for model, warmup_s in self._warm.items():
            self._warm_up(model, warmup_s)

    def _raise_if_too_many(self, losses: Sequence[Exception]) -> None:
        last = losses[-1]
        ended = sum(isinstance(each, RunnerExited) for each in losses)
        if ended >= MAX_EXITS:
            text = f"the runner was lost {ended} times while {self._doing}"
            raise CandidateError(f"{text} (often: out of memory); last: it {last}") from last
        if len(losses) >= MAX_LOSSES:
            text = f"was lost {len(losses)} times in a row while {self._doing}"
            text = f"{self._connection.name} {text}; last: the runner {last}"
            raise DeviceError(f"{text}; {CHECK_POWER}") from last

    def _abort(self, slow: RpcTimeout) -> Exception:
        """Raises CandidateError where the machine can abort the model; else returns the loss."""
        try:
            self._connection.stop()
        except (ConnectionLost, NoHeartbeat, RpcTimeout) as silence:
            return silence
        raise CandidateError(f"{self._doing}: the model {slow}") from slow
