"""The digest under which results may be used again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autoseg.networks import build
from autoseg.networks.structure import structure_digest

OWN = """
import torch
from torch import nn

def activate(x):
    return torch.relu(x)  # a comment

class Net(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, classes, 1)
        self.gain = 1.0

    def forward(self, x):
        return activate(self.conv(x)) * self.gain

def net(channels, classes):
    return Net(channels, classes)
"""


def own_digest(folder: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest in a folder of its own, as a new process would see the edited file."""
    folder.mkdir()
    (folder / "own_structure.py").write_text(source)
    sys.modules.pop("own_structure", None)
    monkeypatch.syspath_prepend(str(folder))
    return structure_digest(build("own_structure:net", channels=3, classes=1), (64, 64))


def test_structure_is_equal_only_for_networks_built_alike() -> None:
    def of(size: int = 128, **knobs: float) -> str:
        return structure_digest(build("fast_scnn", channels=3, classes=1, **knobs), (size, size))

    assert of(a=0.25) == of(a=0.25)
    assert len({of(a=0.25), of(a=0.5), of(a=0.25, pp=0), of(96, a=0.25)}) == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("torch.relu(x)", "torch.sigmoid(x)"),
        ("self.gain = 1.0", "self.gain = 2.0"),
        ("* self.gain", "+ self.gain"),
        ("classes, 1)", "classes, 3)"),
    ],
)
def test_structure_of_an_edited_builder_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    first = own_digest(tmp_path / "first", OWN, monkeypatch)
    edited = own_digest(tmp_path / "edited", OWN.replace(before, after), monkeypatch)
    commented = own_digest(tmp_path / "commented", OWN.replace("a comment", "why"), monkeypatch)
    assert edited != first
    assert commented == first
