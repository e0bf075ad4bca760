"""Talks to the runner's process as a client on the other side of a pipe would, without autoseg."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Line = dict[str, Any]


class Runner:
    """One process of a runner file; `say` sends, `hear` gets the next answer that is no pong."""

    def __init__(
        self,
        file: Path,
        *flags: str,
        home: Path | None = None,
        limits: Callable[[], None] | None = None,
    ) -> None:
        self.pongs = 0
        self.process = subprocess.Popen(
            [sys.executable, "-I", *flags, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(home or file.parent), "PATH": "/usr/bin:/bin"},
            bufsize=0,
            preexec_fn=limits,
        )
        assert self.process.stdin and self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            self.process.kill()

    def say(self, do: str, payload: bytes | None = None, **facts: Any) -> None:
        if payload is not None:
            facts["bytes"] = len(payload)
        self.say_part(do, payload or b"", **facts)

    def say_part(self, do: str, payload: bytes, **facts: Any) -> None:
        """Sends the first of the raw bytes that the request announces."""
        data = json.dumps({"do": do, **facts}).encode() + b"\n" + payload
        while data:
            data = data[self.stdin.write(data) :]

    def hear(self) -> Line:
        while True:
            line: Line = json.loads(self.stdout.readline() or "null")
            if line != {"pong": True}:
                return line
            self.pongs += 1

    def ask(self, do: str, payload: bytes | None = None, **facts: Any) -> Line:
        self.say(do, payload, **facts)
        return self.hear()

    def stream(self, do: str, **facts: Any) -> Iterable[Line]:
        self.say(do, **facts)
        line: Line = {"more": True}
        while line.get("more"):
            line = self.hear()
            yield line

    def open(self, plan: Line | None = None, **models: Path) -> Line:
        default = {"threads": 1, "providers": ["CPUExecutionProvider"], "affinity": None}
        given = {**default, "shapes": {}, **(plan or {})}
        return self.ask("open", models={n: str(p) for n, p in models.items()}, plan=given)

    def class_map(self, model: str, frame: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        answer = self.ask("run", frame.tobytes(), model=model, shape=list(frame.shape))
        packed = b""
        while len(packed) < answer["bytes"]:
            packed += self.stdout.read(answer["bytes"] - len(packed))
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(answer["map"]["shape"])
