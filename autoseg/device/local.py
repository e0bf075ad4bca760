"""This machine as a device; the runner is a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.core.errors import DeviceError
from autoseg.device.board import Board
from autoseg.device.device_profile import Profile
from autoseg.device.pipe_transport import PipeTransport
from autoseg.device.rpc import Transport


@dataclass
class LocalLauncher:
    """Starts runners on this machine, connected by two pipes."""

    name: str = "this machine"
    here: bool = True
    shares_files: bool = True
    keeps_claim: bool = False
    claim_wait_s: float = 300.0

    def open(self) -> Transport:
        """Starts a runner. Raises DeviceError."""
        try:
            return PipeTransport()
        except OSError as error:
            raise DeviceError(f"{self.name} cannot start the runner: {error}") from error

    def close(self) -> None:
        """Does nothing: only runners were started."""


def local_device(
    profile: Profile | None = None, *, shapes: Mapping[str, Sequence[int]] | None = None
) -> Board:
    """This machine, timed as its profile says; `shapes` fills sizes that a model leaves open."""
    return Board(profile or Profile(name="local", kind="local"), LocalLauncher(), shapes=shapes)
