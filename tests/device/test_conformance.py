"""What every device must do, asked of each of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoseg.core.errors import CandidateError, InputError
from autoseg.core.records import LATENCIES, Latency, Measurement, MeasurePlan
from autoseg.core.serialize import file_digest, from_json, to_json
from autoseg.device import Device, resolve
from autoseg.device.fake import FakeDevice
from autoseg.device.group import Group
from autoseg.device.local import local_device
from autoseg.device.ssh import ssh_device

QUICK = MeasurePlan(phase="screen", statistic="p50", ceiling_ms=1000.0, warmup_s=0.01)


@pytest.fixture(params=["local", "fake", "group", pytest.param("ssh", marks=pytest.mark.ssh)])
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    made: Device
    if request.param == "ssh":
        made = ssh_device(request.getfixturevalue("sshd").profile())
    elif request.param == "group":
        made = Group([FakeDevice(name="a"), FakeDevice(name="b")])
    else:
        made = local_device() if request.param == "local" else FakeDevice()
    yield made
    made.close()


def test_describe_is_complete_and_stable(device: Device) -> None:
    info = device.describe()
    assert info.name and info.model and info.runtime and info.threads == 1
    assert device.describe().fingerprint == info.fingerprint


def test_measure_is_complete_and_survives_saving(device: Device, segments: Path) -> None:
    found = device.measure(segments, QUICK)
    info = device.describe()
    assert (found.runtime, found.threads) == (info.runtime, info.threads)
    assert found.provider == info.provider
    assert found.device in info.name.split("+")  # of several boards, one of them
    assert found.onnx_digest == file_digest(segments)
    assert found.phase == "screen" and found.runs > 1
    assert 0 < found.min_ms <= found.p50_ms
    assert found.p50_ci_ms[0] < found.p50_ms < found.p50_ci_ms[1]
    assert found.p90_ms is not None and found.p90_ms >= found.p50_ms
    assert found.peak_rss_bytes > 0
    assert found.quantiles_ms == ()  # a search has hundreds of these
    assert from_json(Measurement, to_json(found)) == found


@pytest.mark.parametrize("latency", LATENCIES)
def test_measure_is_of_the_latency_that_the_plan_promises(
    latency: Latency, device: Device, segments: Path
) -> None:
    found = device.measure(segments, replace(QUICK, latency=latency, frame_hw=(48, 80)))
    assert found.latency == latency and found.frame and found.frame.hw == (48, 80)
    model, frame = found.times("model"), found.times("frame")
    assert model and frame and 0 < model.p50_ms < frame.p50_ms
    assert found.beside == (frame if latency == "model" else model)
    parts = (found.frame.resize_ms, found.frame.inference_ms, found.frame.resize_back_ms)
    assert min(parts) > 0
    assert from_json(Measurement, to_json(found)) == found


def test_measure_of_too_few_runs_leaves_percentiles_empty(device: Device, segments: Path) -> None:
    few = device.measure(
        segments, MeasurePlan(phase="confirm", min_runs=20, max_runs=20, warmup_s=0.0)
    )
    assert few.p99_ms is None
    assert len(few.quantiles_ms) == 41 and list(few.quantiles_ms) == sorted(few.quantiles_ms)
    assert few.quantiles_ms[20] == pytest.approx(few.p50_ms, rel=0.01)
    if few.runs < 36:  # on a busy machine disturbed runs count as well
        assert (few.p90_ms, few.p90_ci_ms, few.p95_ms) == (None, None, None)
        assert few.latency_ms("p90") == few.p50_ms


def test_measure_accepts_a_foreign_model_with_open_sizes(device: Device, dynamic: Path) -> None:
    assert device.measure(dynamic, QUICK).p50_ms > 0


def test_measure_of_an_invalid_model_raises_candidate_error(
    device: Device, tmp_path: Path
) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(CandidateError, match=r"text\.onnx"):
        device.measure(path, QUICK)


def test_measure_of_a_missing_file_raises_input_error(device: Device, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.onnx"):
        device.measure(tmp_path / "gone.onnx", QUICK)
    with pytest.raises(InputError, match=r"gone\.onnx"):
        device.predict(tmp_path / "gone.onnx", [])


def test_predict_returns_the_class_maps_of_the_model(device: Device, segments: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
    maps = device.predict(segments, iter(frames))
    assert [each.dtype for each in maps] == [np.uint8] * 3
    np.testing.assert_array_equal(np.stack(maps), frames.argmax(axis=-1))


def test_predict_refuses_frames_and_models_that_do_not_fit(
    device: Device, segments: Path, dynamic: Path
) -> None:
    with pytest.raises(InputError, match=r"uint8 .*\[24, 32, 3\]"):
        device.predict(segments, [np.zeros((32, 24, 3), np.uint8)])
    with pytest.raises(InputError, match="uint8"):
        device.predict(dynamic, [np.zeros((32, 24, 3), np.uint8)])


def test_close_can_be_called_twice(device: Device) -> None:
    device.close()
    device.close()


def test_resolve_of_a_device_is_the_device(device: Device) -> None:
    assert resolve(device) is device


def test_nodes_lists_operators_with_their_times(device: Device, segments: Path) -> None:
    nodes = device.nodes(segments, runs=2)
    assert {node.op for node in nodes} >= {"ArgMax", "Cast"}
    assert all(node.ms >= 0 for node in nodes) and sum(node.ms for node in nodes) > 0
    with pytest.raises(InputError, match=r"gone\.onnx"):
        device.nodes(segments.with_name("gone.onnx"))
