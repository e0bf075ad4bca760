"""The contract of every family: found by its file name, with `build` and `STRIDE`."""

import subprocess
import sys

import pytest
import torch

from autoseg import networks


def test_families_are_listed_without_torch():
    code = (
        "import sys; from autoseg import networks;"
        "print(*networks.family_names(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*networks.family_names(), "False"]
    assert "fast_scnn" in networks.family_names()


@pytest.mark.parametrize("family", networks.family_names())
@pytest.mark.parametrize("channels", [1, 3])
def test_build_gives_logits_of_every_multiple_of_the_stride(family, channels):
    stride = networks.stride_of(family)
    net = networks.build(family, channels=channels, classes=4).eval()
    for hw in ((2 * stride, 2 * stride), (3 * stride, 5 * stride)):
        with torch.no_grad():
            assert net(torch.zeros(1, channels, *hw)).shape[:2] == (1, 4)


def test_stride_of_a_users_builder_is_that_of_its_module(tmp_path, monkeypatch):
    (tmp_path / "strided.py").write_text("STRIDE = 8\ndef net(channels, classes): ...\n")
    (tmp_path / "unstrided.py").write_text("def net(channels, classes): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert networks.stride_of("strided:net") == 8
    assert networks.stride_of("unstrided:net") == networks.DEFAULT_STRIDE
