"""The time of the resize beside plain bilinear, and its share of a frame, here and on boards.

    python benchmarks/resize.py [--device local] [--device benchmarks/emulated-board.yaml]

Both resizes take turns, for pictures of several sizes and every input size, on the device's own
Python, which needs Pillow (`autoseg devices setup`). Bilinear is Pillow's, antialiased, from the
picture to the input in one step, as it was before. Times are medians, a ratio is ours / bilinear.

A frame is what `predict` does with a picture in memory: the resize, the network on one thread, and
the class map back at the picture's size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import REFERENCE, command, commit_of, facts, settings, table, write_csv

from autoseg.core.records import Candidate
from autoseg.data import resize
from autoseg.device import resolve
from autoseg.device.board import Board
from autoseg.device.ssh import SshLauncher
from autoseg.export.to_onnx import export
from autoseg.networks.space_file import load_space
from autoseg.train.task import build_candidate

PICTURES = ("480x360", "640x480", "960x540", "1280x720", "1920x1080")
INPUTS = (96, 128, 160, 192, 256, 384)
NETS = [{"resolution": size, "a": 0.25, "t": 2, "r": 1} for size in (96, 192, 256)]
FRAMES = ("960x540", "1920x1080")
LIMIT_S = 600.0

# Runs behind the source of data/resize.py, with Python 3.8, numpy and Pillow.
TIMING = """
import json, statistics, sys, time
import numpy, PIL


def bilinear(image, input_hw, channels):
    picture = Image.fromarray(image)
    if channels == 1:
        picture = picture.convert("L")
    height, width = input_hw
    return numpy.asarray(picture.resize((width, height), BILINEAR)).reshape(*input_hw, channels)


def medians_ms(rounds, *functions):
    times = [[] for _ in functions]
    for number in range(rounds + 1):
        for mine, function in zip(times, functions):
            begin = time.perf_counter()
            function()
            mine.append(time.perf_counter() - begin)
    return [1e3 * statistics.median(mine[1:]) for mine in times]


def picture_of(size):
    width, height = map(int, size.split("x"))
    return numpy.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(numpy.uint8)


def resizes_ms(pictures, inputs, rounds):
    for size in pictures:
        image = picture_of(size)
        for channels in (3, 1):
            for side in inputs:
                given = image, (side, side), channels
                times = medians_ms(rounds, lambda: bilinear(*given), lambda: resize_frame(*given))
                yield [size, channels, side, *times]


def frames_ms(pictures, models, rounds):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for path, side in models:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        for size in pictures:
            image = picture_of(size)
            given = image, (side, side), 3
            frame = resize_frame(*given)[None]
            class_map = session.run(None, {name: frame})[0][0]
            times = medians_ms(
                rounds, lambda: bilinear(*given), lambda: resize_frame(*given),
                lambda: session.run(None, {name: frame}),
                lambda: resize_mask(class_map, image.shape[:2]),
            )
            yield [size, side, *times]


order = json.loads(sys.argv[1])
found = {"pillow": PIL.__version__}
found["resizes"] = list(resizes_ms(order["pictures"], order["inputs"], order["rounds"]))
found["frames"] = list(frames_ms(order["frames"], order["models"], order["rounds"]))
print(json.dumps(found))
"""


def main() -> None:
    arguments = parse()
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, str]] = []
    versions = []
    for name in arguments.device or ["local"]:
        device = resolve(name)
        if not isinstance(device, Board):
            raise SystemExit(f"{name} is several boards; name one")
        found, where = timed(device, arguments.rounds), device.profile.name
        device.close()
        versions.append(f"- {where}: Pillow {found['pillow']}")
        rows += [row(where, *each) for each in found["resizes"]]
        frames += [frame_row(where, *each) for each in found["frames"]]
    write_csv(REFERENCE / "resize.csv", rows)
    lines = [*table(list(wide(rows))), "", *table(frames)]
    print("\n".join(lines))
    about = str(__doc__).split("\n\n")
    body = [
        "# The time of the resize, beside plain bilinear", "", f"- command: `{command()}`",
        *facts(), *versions, f"- code: {commit_of(REFERENCE.parents[1])}",
        f"- medians of {arguments.rounds} rounds",
        f"- networks of the frames: {'; '.join(map(settings, NETS))}", "",
        "Milliseconds with bilinear > with ours (ratio), by the input's side in pixels.", "",
        *table(list(wide(rows))), "", about[2], "", about[3].rstrip(), "", *table(frames),
    ]  # fmt: skip
    (REFERENCE / "resize.md").write_text("\n".join(body) + "\n")


def timed(device: Board, rounds: int) -> dict[str, Any]:
    """What TIMING prints, with the device's own Python."""
    script = Path(resize.__file__).read_text() + TIMING
    with tempfile.TemporaryDirectory() as folder:
        models = [(_uploaded(device, path), side) for path, side in exported(Path(folder))]
        order = {
            "pictures": PICTURES, "inputs": INPUTS, "rounds": rounds,
            "frames": FRAMES, "models": models,
        }  # fmt: skip
        given = ["-", json.dumps(order)]
        if isinstance(device.launcher, SshLauncher):
            python = device.profile.python or "python3"
            ran = device.launcher.run_command([python, *given], script.encode(), LIMIT_S)
            code, out, err = ran
        else:
            done = subprocess.run(
                [sys.executable, *given], input=script.encode(), capture_output=True
            )
            code, out, err = done.returncode, done.stdout, done.stderr
    if code:
        raise SystemExit(f"{device.profile.name}: {err.decode(errors='replace')}")
    found: dict[str, Any] = json.loads(out)
    return found


def exported(folder: Path) -> Iterator[tuple[Path, int]]:
    """Networks of the shipped space with random weights, and their input's side."""
    space = load_space("fast_scnn")
    for knobs in NETS:
        candidate: Candidate = space.candidate(**knobs)
        path = folder / f"{candidate.key}.onnx"
        net = build_candidate(space, candidate, 1)
        export(net, path, input_hw=candidate.input_hw, channels=3, classes=1, metadata={})
        yield path, candidate.input_hw[0]


def _uploaded(device: Board, path: Path) -> str:
    return str(device.connection.twice(lambda: device.connection.upload(path.resolve())))


def row(
    device: str, picture: str, channels: int, side: int, before_ms: float, ours_ms: float
) -> dict[str, Any]:
    return {
        "device": device, "picture": picture, "channels": channels, "input": side,
        "bilinear_ms": f"{before_ms:.4f}", "ours_ms": f"{ours_ms:.4f}",
        "ratio": f"{ours_ms / before_ms:.3f}",
    }  # fmt: skip


def wide(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """A line for each device, picture and number of channels, with a column for each input."""
    cases = dict.fromkeys((each["device"], each["picture"], each["channels"]) for each in rows)
    for device, picture, channels in cases:
        line = {"device": device, "picture": picture, "channels": str(channels)}
        for each in rows:
            if (each["device"], each["picture"], each["channels"]) == (device, picture, channels):
                times = f"{float(each['bilinear_ms']):.3g} > {float(each['ours_ms']):.3g}"
                line[str(each["input"])] = f"{times} ({float(each['ratio']):.2f})"
        yield line


def frame_row(
    device: str, picture: str, side: int,
    before_ms: float, ours_ms: float, network_ms: float, back_ms: float,
) -> dict[str, str]:  # fmt: skip
    rest = network_ms + back_ms
    before, now = before_ms + rest, ours_ms + rest
    return {
        "device": device, "picture": picture, "input": f"{side} px",
        "resize ms": f"{before_ms:.3g} > {ours_ms:.3g}",
        "network ms": f"{network_ms:.3g}", "resize back ms": f"{back_ms:.3g}",
        "frame ms": f"{before:.3g} > {now:.3g}",
        "share of the resize": f"{100 * before_ms / before:.0f} % > {100 * ours_ms / now:.0f} %",
    }  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--device", action="append", help="a profile's name or file; again for more"
    )
    parser.add_argument("--rounds", type=int, default=21)
    return parser.parse_args()


if __name__ == "__main__":
    main()
