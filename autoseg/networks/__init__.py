"""Networks by name: the families in `families/`, one file each, and users' own builders."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path

from autoseg.core.errors import AutosegError, CandidateError, InputError

if typing.TYPE_CHECKING:
    import torch

# Of builders whose module states no STRIDE.
DEFAULT_STRIDE = 32


def build(
    name: str, *, channels: int, classes: int, **knobs: int | float | str
) -> torch.nn.Module:
    """A network with random weights, from `[N, channels, H, W]` to logits `[N, classes, h, w]`.

    `name` is a family or a user's own builder as "package.module:function"; `classes` counts
    output channels (1 is one logit, object against background). Raises InputError for an unknown
    name or knob, naming the known ones, and CandidateError if a user's builder refuses these
    knobs.
    """
    import torch

    function = builder(name)
    _check_knobs(name, function, knobs)
    try:
        net = function(channels=channels, classes=classes, **knobs)
    except AutosegError:
        raise
    except Exception as error:  # a user's builder may raise anything
        raise CandidateError(
            f"the network cannot be built: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(net, torch.nn.Module):
        raise InputError(
            f"network {name!r} must return a torch.nn.Module, got {type(net).__name__}"
        )
    return net


@cache
def family_names() -> tuple[str, ...]:
    """The names of the shipped families, sorted; none of them is imported."""
    folder = Path(__file__).parent / "families"
    return tuple(sorted(path.stem for path in folder.glob("[a-z]*.py")))


def builder(name: str) -> Callable[..., typing.Any]:
    """The function that builds a network. Raises InputError for an unknown name."""
    module_name, function_name = _place(name)
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"network {name!r} cannot be imported ({error}); "
            "is it installed, or its folder on PYTHONPATH?"
        ) from error
    if not callable(found):
        raise InputError(f"network {name!r} must be a function, got {type(found).__name__}")
    return typing.cast(Callable[..., typing.Any], found)


def stride_of(name: str) -> int:
    """The multiple that height and width of a network's input must be: STRIDE of the builder's
    module, 32 if it states none. Raises InputError as `builder` does.
    """
    builder(name)
    return int(getattr(importlib.import_module(_place(name)[0]), "STRIDE", DEFAULT_STRIDE))


def knobs_of(name: str) -> tuple[str, ...]:
    """The knobs that a builder takes besides `channels` and `classes`; a last "**" means any."""
    kinds = inspect.Parameter
    parameters = inspect.signature(builder(name)).parameters.values()
    named = [
        p.name for p in parameters if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    open_ended = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    return (*(n for n in named if n not in ("channels", "classes")), *(["**"] * open_ended))


def _place(name: str) -> tuple[str, str]:
    """The module and the function of a name."""
    if name in family_names():
        return f"{__name__}.families.{name}", "build"
    module, _, function = name.partition(":")
    if not (module and function):
        raise InputError(
            f"no network is called {name!r}; there is {', '.join(family_names())}, "
            "or your own builder as package.module:function"
        )
    return module, function


def _check_knobs(
    name: str, function: Callable[..., typing.Any], knobs: dict[str, int | float | str]
) -> None:
    known = knobs_of(name)
    unknown = sorted(set(knobs) - set(known))
    if unknown and "**" not in known:
        has = ", ".join(known) or "none"
        raise InputError(f"network {name!r} has no knob {', '.join(unknown)}; it has {has}")
    try:
        inspect.signature(function).bind(channels=1, classes=1, **knobs)
    except TypeError as error:
        raise InputError(f"network {name!r} cannot be called so: {error}") from error
