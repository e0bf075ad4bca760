"""A digest of a network's structure: of all that decides what it computes, except its weights."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from typing import Any

from torch import nn

from autoseg.core.serialize import digest
from autoseg.core.units import HW


def structure_digest(net: nn.Module, input_hw: HW) -> str:
    """12 hex digits: equal for networks built alike, different after a change of their code.

    Covers the modules' descriptions and plain attributes, the shapes of parameters and buffers,
    the source (without comments) of every class that is not torch's and of the functions that it
    names, and the size of the picture. Classes are named without their files, so that moving one
    does not change the digest.
    """
    tensors = [*net.named_parameters(), *net.named_buffers()]
    return digest(
        {
            "modules": [[name, *_describe(module)] for name, module in net.named_modules()],
            "shapes": [[name, list(tensor.shape)] for name, tensor in tensors],
            "sources": sorted(_sources(net)),
            "input_hw": list(input_hw),
        }
    )


def _describe(module: nn.Module) -> tuple[str, str, str]:
    plain = {
        name: repr(value)
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }
    return type(module).__qualname__, module.extra_repr(), repr(sorted(plain.items()))


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _sources(net: nn.Module) -> Iterator[tuple[str, str]]:
    waiting: list[Any] = [type(module) for module in net.modules()]
    seen: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or _is_foreign(thing):
            continue
        seen.add(id(thing))
        yield thing.__qualname__, _source(thing)
        waiting += _reached_from(thing)


def _is_foreign(thing: Any) -> bool:
    """Whether a class or function is of torch, numpy or Python: they are no part of a network."""
    top = (getattr(thing, "__module__", None) or "builtins").partition(".")[0]
    return top in ("torch", "builtins", "math", "typing", "functools", "numpy")


def _reached_from(thing: Any) -> Iterator[Any]:
    """The functions and classes that a class or function names, its base classes included."""
    if inspect.isclass(thing):
        yield from thing.__mro__[1:]
        yield from (member for member in vars(thing).values() if inspect.isfunction(member))
    elif inspect.isfunction(thing):
        for name in thing.__code__.co_names:
            found = thing.__globals__.get(name)
            if inspect.isfunction(found) or inspect.isclass(found):
                yield found


def _source(thing: Any) -> str:
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(thing))))
    except (OSError, TypeError, SyntaxError):
        # Without a file (`exec` in a notebook), the byte code takes the place of the source.
        functions = vars(thing).values() if inspect.isclass(thing) else [thing]
        return repr([_byte_code(f.__code__) for f in functions if inspect.isfunction(f)])


def _byte_code(code: types.CodeType) -> tuple[str, list[Any]]:
    constants = [
        _byte_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts
    ]
    return code.co_code.hex(), [*constants, *code.co_names]
