"""The command lines that advice and reports name: how to continue a run, and how to change one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoseg.run.declaration import Declaration
from autoseg.run.places import paths_from_here

RESULTS = Path("results")  # the default of --results


@dataclass(frozen=True)
class Commands:
    """Command lines about the run in `folder`, to be typed in the working directory.

    `begun` is the declaration that the run was begun with, `last` that of its last session, whose
    limits and slots may differ.
    """

    folder: Path
    begun: Declaration
    last: Declaration

    @classmethod
    def of(cls, folder: Path, raw: Mapping[str, Any], **given: Any) -> Commands:
        """For the content of its run.yaml, and the limits that its last session was given."""
        begun = Declaration.from_yaml({**raw, **paths_from_here(raw)})
        last = replace(begun, **given)
        if last.budget_s == begun.budget_s:  # however it is written
            last = replace(last, budget=begun.budget)
        return cls(folder, begun, last)

    def resume(self, **changed: Any) -> str:
        """Continue the run, with other limits where they are `changed`."""
        declared = replace(self.last, **changed)
        return declared.resume_command(self._folder, self.begun.to_yaml())

    def remeasure(self, device: str, max_latency: str) -> str:
        """Measure the run's candidates on another device."""
        words = ["autoseg", "remeasure", str(self.folder)]
        return shlex.join([*words, "--device", device, "--max-latency", max_latency])

    def anew(self, **changed: Any) -> str:
        """Begin another run that differs in what is `changed`, under a name that is free."""
        command = replace(self.last, **changed).command(self.free_name())
        if self._folder.parent != RESULTS:
            command += f" --results {shlex.quote(str(self._folder.parent))}"
        return command

    def free_name(self) -> str:
        """``"mine-2"``, or the next number of which there is no run."""
        stem, number = self._folder.name, 2
        while os.path.lexists(self._folder.parent / f"{stem}-{number}"):
            number += 1
        return f"{stem}-{number}"

    @property
    def _folder(self) -> Path:
        return self.folder if self.folder.name else self.folder.resolve()
