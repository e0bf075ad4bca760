"""A machine made of numbers, with a clock of its own: what timing decides, without waiting."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from autoseg.device.rpc_schema import Block
from autoseg.device.timing import REFERENCE, BlockRequest

Share = Callable[[float], float]


class Machine:
    """Runs models of known speed. `slower` and `share` say how much others disturb it when.

    `slower` multiplies every run from a given second on; `share` is the core's part that is left.
    """

    def __init__(
        self,
        candidate_ms: float = 3.0,
        *,
        slower: Share = lambda second: 1.0,
        share: Share = lambda second: 1.0,
        speeds: dict[str, float] | None = None,
        noise: float = 0.01,
    ) -> None:
        self.now = 0.0
        self.blocks: list[Block] = []
        self.speeds = {"candidate": candidate_ms, REFERENCE: 0.1, **(speeds or {})}
        self._slower, self._share, self._noise = slower, share, noise
        self._random = np.random.default_rng(0)

    def clock(self) -> float:
        return self.now

    def __call__(self, wanted: Sequence[BlockRequest]) -> Iterator[Block]:
        for each in wanted:
            block = self._block(each)
            self.blocks.append(block)
            yield block

    def _block(self, wanted: BlockRequest) -> Block:
        begin, share, times = self.now, self._share(self.now), []
        while not times or (len(times) < wanted.runs and self.now < begin + wanted.max_s):
            noise = float(np.exp(self._noise * abs(self._random.standard_normal())))
            ms = self.speeds[wanted.model] * self._slower(self.now) * noise / share
            times.append(ms)
            self.now += ms / 1e3
        return Block(model=wanted.model, times_ms=times, cpu_share=share)

    def count(self, model: str) -> int:
        return sum(len(block.times_ms) for block in self.blocks if block.model == model)
