"""Figures as a page says them, with their units; a dash for what nobody took."""

from __future__ import annotations

from autoseg.core.units import clock

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """``0.60473 -> "0.605"``, ``1234.5 -> "1,234"``: significant digits, never an exponent."""
    if value is None:
        return NONE
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    short = f"{value:#.{digits}g}"
    if value == 0:
        return "0"
    if "e" in short:  # 99.96 is "1e+02", and next to nothing "1e-05"
        return f"{value:.0f}" if abs(value) >= 1 else f"{value:.{digits}f}"
    return short


def ms(value: float | None) -> str:
    return NONE if value is None else f"{number(value)} ms"


def iou(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def span(interval: tuple[float, float] | None, digits: int = 4) -> str:
    """The 95 % interval of a fraction."""
    return NONE if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def ms_span(interval: tuple[float, float] | None) -> str:
    return NONE if interval is None else f"{number(interval[0])} to {number(interval[1])} ms"


def share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def counted(value: float | None) -> str:
    """``27140000 -> "27.1 M"``."""
    if value is None:
        return NONE
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{number(value / size)}{unit}"
    return f"{value:g}"


def size(count: float | None) -> str:
    """Bytes: ``190285 -> "186 KiB"``."""
    if count is None:
        return NONE
    return f"{number(count / 2**20)} MiB" if count >= 2**20 else f"{number(count / 1024)} KiB"


def time(seconds: float | None) -> str:
    """``75.2 -> "1:15"``; tenths under a minute."""
    if seconds is None:
        return NONE
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
