"""Values as text with their units; a dash where nothing was recorded."""

from __future__ import annotations

from autoseg.core.units import clock
from autoseg.report.plot_data import POINT_LABELS, PlotPoint
from autoseg.run.rows import Quantity

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


def interval(quantity: Quantity) -> str:
    """The 95 % interval; latencies have three digits and a unit, IoU four decimals."""
    if quantity.ci95 and quantity.unit == "ms":
        return f"{number(quantity.ci95[0])} to {number(quantity.ci95[1])} ms"
    return quantity.interval_text(".4f") or NONE


def share(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def count(value: float | None) -> str:
    """``27140000 -> "27.1 M"``."""
    if value is None:
        return NONE
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{number(value / size)}{unit}"
    return f"{value:g}"


def size(n_bytes: float | None) -> str:
    """``190285 -> "186 KiB"``."""
    if n_bytes is None:
        return NONE
    size, unit = (2**20, "MiB") if n_bytes >= 2**20 else (1024, "KiB")
    return f"{number(n_bytes / size)} {unit}"


def time(seconds: float) -> str:
    """``75.2 -> "1:15"``; tenths under a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def point_text(point: PlotPoint) -> str:
    """The tooltip and the accessible name of a point."""
    marks = [f"{point.rank}." if point.rank else "", "baseline" if point.row.is_baseline else ""]
    first = " ".join(mark for mark in marks if mark)
    parts = [first] if first else []
    parts += [POINT_LABELS[point.kind], f"{point.latency.name} {ms(point.ms)}"]
    return ", ".join([*parts, f"IoU {iou(point.iou)}", str(point.evaluation.candidate)])
