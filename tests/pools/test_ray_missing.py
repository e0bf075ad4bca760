"""Where Ray is not installed: what a user is told."""

import importlib.util

import pytest

from autoseg.core.errors import InputError
from autoseg.pools.ray.connect import require_ray


def test_pool_ray_says_how_to_install_it(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ray" else find_spec(name)
    )
    with pytest.raises(InputError, match=r"pip install 'autoseg\[ray\]'"):
        require_ray()
