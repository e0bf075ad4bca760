"""The names that `build` knows, a user's own builder too, and what it says of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autoseg.core.errors import InputError
from autoseg.networks import build, knobs_of

OWN = """
import torch
from torch import nn

def tiny(channels, classes, *, width=4):
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, classes, 1))

def open_ended(channels, classes, **knobs):
    return nn.Conv2d(channels, classes, knobs["kernel"])

def no_network(channels, classes):
    return "a network"

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_networks"


def test_build_passes_channels_classes_and_knobs_to_a_users_builder(own: str) -> None:
    net = build(f"{own}:tiny", channels=1, classes=5, width=7)
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 5, 8, 8)
    assert net[0].out_channels == 7


def test_build_passes_any_knob_to_a_builder_with_keyword_arguments(own: str) -> None:
    assert build(f"{own}:open_ended", channels=3, classes=2, kernel=5).kernel_size == (5, 5)


def test_knobs_of_lists_knobs_without_channels_and_classes(own: str) -> None:
    assert knobs_of("fast_scnn") == ("a", "t", "r", "pp", "round_to")
    assert knobs_of(f"{own}:tiny") == ("width",)


@pytest.mark.parametrize(
    ("name", "knobs", "said"),
    [
        ("fastscnn", {}, "fast_scnn"),
        ("fast_scnn", {"width": 3}, "a, t, r, pp, round_to"),
        ("no_such_module:net", {}, "no_such_module"),
        ("own_networks:absent", {}, "absent"),
        ("own_networks:number", {}, "number"),
        ("own_networks:no_network", {}, "torch.nn.Module"),
        ("own_networks:tiny", {"depth": 2}, "depth.*width"),
    ],
)
def test_build_refuses_a_wrong_name_or_knob_with_the_known_ones(
    own: str, name: str, knobs: dict[str, int], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        build(name, channels=3, classes=1, **knobs)
