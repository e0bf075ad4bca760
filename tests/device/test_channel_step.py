"""The channel step: found from times alone, and on a real machine."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime
import pytest

from autoseg.device import channel_step
from autoseg.device.channel_step import (
    KERNELS,
    STEPS,
    WIDTHS,
    ChannelProbe,
    choose_step,
    probe_channel_step,
)
from autoseg.device.graphs import conv_chain
from autoseg.device.local import local_device


def ladder(cost: Callable[[int], float]) -> ChannelProbe:
    """What a device would say on which a width costs that of another one, with some overhead."""
    widths = [width for each in WIDTHS.values() for width in each]
    return choose_step(
        {
            (kind, width): 0.01 + 1e-5 * (kernel * cost(width)) ** 2
            for kind, kernel in KERNELS.items()
            for width in widths
        }
    )


def up_to(step: int) -> Callable[[int], float]:
    return lambda width: -(-width // step) * step


@pytest.mark.parametrize("step", STEPS[:-1])
def test_judge_of_a_device_with_blocks_is_the_block(step: int) -> None:
    assert ladder(up_to(step)).step == step


def test_judge_classes_widths_by_the_largest_divisor() -> None:
    for step, widths in WIDTHS.items():
        assert all(width % step == 0 and width % (2 * step) for width in widths if step < 32)


def test_judge_notices_slow_odd_widths_although_they_are_narrower() -> None:
    found = ladder(lambda width: width if width % 4 == 0 else 1.3 * width)
    assert found.step == 4
    assert found.losses["pointwise", 1] > 1.4 > 1.05 > found.losses["pointwise", 8]


def test_judge_needs_a_gain_over_two_percent() -> None:
    assert ladder(lambda width: width * (1.008 if width % 8 else 1.0)).step == 1


def test_chain_models_of_the_ladder_run(tmp_path: Path) -> None:
    path = tmp_path / "chain.onnx"
    path.write_bytes(conv_chain(3, 23, 12))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 23, 12, 12]
    assert path.read_bytes() == conv_chain(3, 23, 12)


def test_probe_runs_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name of its own: what else is timed here need not be waited for.
    monkeypatch.setattr("autoseg.device.board.CLAIM_NAME", "autoseg-test-probe")
    monkeypatch.setattr(channel_step, "ROUNDS", 2)
    monkeypatch.setattr(channel_step, "BLOCK_RUNS", 2)
    device = local_device()
    try:
        found = probe_channel_step(device, tmp_path)
    finally:
        device.close()
    assert found.step in STEPS and len(found.times_ms) == 2 * sum(map(len, WIDTHS.values()))
    assert all(ms > 0 for ms in found.times_ms.values())
