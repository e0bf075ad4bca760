"""Network families: one file each, a builder is a plain function with flat arguments."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Callable

from autoseg.core.errors import AutosegError, CandidateError, InputError

if typing.TYPE_CHECKING:
    import torch

# A name and where its builder is, so that listing the names needs no torch.
BUILT_IN = {"fast_scnn": "autoseg.networks.families.fast_scnn:fast_scnn"}


def build(
    name: str, *, channels: int, classes: int, **knobs: int | float | str
) -> torch.nn.Module:
    """A network with random weights, from `[N, channels, H, W]` to logits `[N, classes, h, w]`.

    `name` is a built-in family or a user's own builder as "package.module:function"; `classes`
    counts output channels (1 is one logit, object against background). Raises InputError for a
    name or a knob that does not exist, naming those that do, and CandidateError where a user's
    builder refuses these knobs.
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


def builder(name: str) -> Callable[..., typing.Any]:
    """The function behind a name. Raises InputError where there is none."""
    module_name, colon, function_name = BUILT_IN.get(name, name).partition(":")
    if not (module_name and colon and function_name):
        raise InputError(
            f"no network is called {name!r}; there is {', '.join(sorted(BUILT_IN))}, "
            "or your own builder as package.module:function"
        )
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


def knobs_of(name: str) -> tuple[str, ...]:
    """The knobs that a builder takes besides `channels` and `classes`; a last "**" means any."""
    kinds = inspect.Parameter
    parameters = inspect.signature(builder(name)).parameters.values()
    named = [
        p.name for p in parameters if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    open_ended = any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    return (*(n for n in named if n not in ("channels", "classes")), *(["**"] * open_ended))


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
