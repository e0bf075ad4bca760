"""Models open on a board: timed and run there, through lost connections."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from autoseg.device.answers import Block, Map, Opened, Record, Timed, Warm, read, readable
from autoseg.device.link import Babble, Lost, Silent, Slow
from autoseg.device.timing import Wanted
from autoseg.records import CandidateError, InputError

if TYPE_CHECKING:
    from autoseg.device.board import Board

Image = npt.NDArray[np.uint8]
Result = TypeVar("Result")

# Loading, and one run of the slowest model.
LOAD_S = 120.0
MOST_LOSSES = 2


class Sitting:
    """Some models open on a board, by name, until it opens others.

    A connection that is lost is opened again, and the models with it; lost a second time, it is
    the model's fault. Every verb raises CandidateError, InputError or DeviceError.
    """

    def __init__(self, board: Board, models: Mapping[str, Path], doing: str) -> None:
        self.after: Timed | None = None
        self._board, self._models, self._doing = board, models, doing
        self._warm: dict[str, float] = {}
        self._losses = 0
        self.opened: Opened = self._persist(self._open)

    def warm(self, model: str, warmup_s: float) -> int:
        """Runs a model untimed until it is steady; the number of runs."""
        self._warm[model] = warmup_s
        return self._persist(lambda: self._warm_up(model, warmup_s))

    def blocks(self, wanted: Sequence[Wanted]) -> Iterator[Block]:
        """Times blocks in turn; only the one under way is timed again after a loss."""
        left = list(wanted)
        while left:
            yield from self._persist(lambda: self._time(left))

    def class_map(self, model: str, image: Image) -> Image:
        """The class map (uint8, H x W) of one frame (uint8, H x W x C)."""
        if image.dtype != np.uint8:
            shape = self.opened.inputs[model][0].shape[1:]
            text = f"a frame must be uint8 of shape {shape}, got {image.dtype}"
            raise InputError(f"{text} {list(image.shape)}; resize it first")
        # A loss is the model's fault when it comes twice in one step, not twice in an evening.
        self._losses = 0
        return self._persist(lambda: self._run(model, image))

    def _open(self) -> Opened:
        places = {name: self._board.upload(path) for name, path in self._models.items()}
        try:
            answer = self._ask("open", models=places, plan=self._board.settings())
        except CandidateError as error:
            # The user knows the file by its name here.
            text = str(error)
            for name, place in places.items():
                text = text.replace(place, str(self._models[name]))
            raise CandidateError(text) from error
        opened = _read(Opened, answer, "opened")
        if not all(set(part) == set(places) for part in (opened.load_ms, opened.first_ms)):
            raise Babble("it opened other models than it was asked to")
        return opened

    def _reopen(self) -> None:
        self.opened = self._open()
        for model, warmup_s in self._warm.items():
            self._warm_up(model, warmup_s)

    def _warm_up(self, model: str, warmup_s: float) -> int:
        answer = self._ask("warm", 3 * warmup_s, model=model, warmup_s=warmup_s)
        return _read(Warm, answer, "warm").runs

    def _time(self, left: list[Wanted]) -> list[Block]:
        """The blocks that came before the end or a loss; they are no longer among those left."""
        came: list[Block] = []
        limit_s = LOAD_S + 2 * sum(wanted.max_s for wanted in left)
        asked = [dataclasses.asdict(wanted) for wanted in left]
        link = self._board.link()
        try:
            for answer in link.stream("time", limit_s=limit_s, blocks=asked):
                if "block" not in answer:
                    self.after = _read(Timed, answer, "timed")
                    continue
                block = _read(Block, answer, "block")
                if not left or block.model != left[0].model:
                    raise Babble(f"a block of {readable(block.model)!r} that nobody asked for")
                del left[0]
                came.append(block)
            if left:
                raise Babble("it timed fewer blocks than it was asked to")
        except (Lost, Silent) as error:
            self._lost(error)
        return came

    def _run(self, model: str, image: Image) -> Image:
        payload, shape = np.ascontiguousarray(image).tobytes(), list(image.shape)
        answer = self._ask("run", payload=payload, model=model, shape=shape)
        height, width = _read(Map, answer, "map").shape[:2]
        inflate = zlib.decompressobj()
        try:
            pixels = inflate.decompress(answer["raw"], height * width + 1)
        except zlib.error as error:
            raise Babble(f"a class map that cannot be inflated: {error}") from error
        if len(pixels) != height * width:
            raise Babble(f"a class map of {height} x {width} with another number of pixels")
        return np.frombuffer(pixels, np.uint8).reshape(height, width)

    def _ask(
        self, do: str, more_s: float = 0.0, payload: bytes = b"", **facts: Any
    ) -> dict[str, Any]:
        link = self._board.link()
        return link.ask(do, limit_s=LOAD_S + more_s, payload=payload, **facts)

    def _persist(self, act: Callable[[], Result]) -> Result:
        """Acts, and acts again after a loss."""
        with self._board.contact.named():
            while True:
                try:
                    return act()
                except (Lost, Silent) as error:
                    self._lost(error)
                except Slow as error:
                    self._slow(error)
                except CandidateError as error:
                    if self._doing in str(error):
                        raise
                    raise CandidateError(f"{self._doing}: {error}") from error

    def _lost(self, error: Exception) -> None:
        while True:
            self._board.contact.reopen(error)
            self._losses += 1
            if self._losses >= MOST_LOSSES:
                text = f"the runner was lost {self._losses} times while {self._doing}"
                raise CandidateError(f"{text} (often: out of memory); last: it {error}") from error
            try:
                return self._reopen()
            except (Lost, Silent) as again:
                error = again
            except Slow as slow:
                self._slow(slow)

    def _slow(self, error: Slow) -> None:
        """A machine that can still let go of the model is not at fault."""
        try:
            self._board.contact.stop()
        except (Lost, Silent, Slow) as silence:
            return self._lost(silence)
        raise CandidateError(f"{self._doing}: the model {error}") from error


def _read(kind: type[Record], answer: Mapping[str, Any], key: str) -> Record:
    try:
        return read(kind, answer, key)
    except ValueError as error:
        raise Babble(str(error)) from error
