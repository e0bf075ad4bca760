"""SVG elements as text for a page; colours come from the page's style sheet by class.

Text and attributes are escaped: names come from data folders, boards and spaces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Value = str | int | float
XY = tuple[float, float]


def tag(name: str, *inner: Markup | str, **attributes: Value | None) -> Markup:
    """One element: `class_` and `stroke_width` are class and stroke-width; None is left out."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(escape(part) for part in inner)
    return Markup(f"<{name}{pairs}>{body}</{name}>" if body else f"<{name}{pairs}/>")


def _short(value: Value) -> str:
    """A tenth of a pixel is precise enough."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0") if math.isfinite(value) else "0"
    return str(value)


def join(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)


@dataclass(frozen=True)
class Scale:
    """From values to pixels: `low` is at `start` and `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-12))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Area:
    """A picture of `width` x `height` pixels with its two scales."""

    width: float
    height: float
    x: Scale
    y: Scale

    @property
    def bottom(self) -> float:
        return self.y.start

    @property
    def top(self) -> float:
        return self.y.end

    @property
    def left(self) -> float:
        return self.x.start

    @property
    def right(self) -> float:
        return self.x.end

    def at(self, x: float, y: float) -> XY:
        """A point in pixels, clipped to the axes."""
        across = min(max(self.x(x), self.left), self.right)
        return across, min(max(self.y(y), self.top), self.bottom)


def picture(area: Area, label: str, *inner: Markup, class_: str = "") -> Markup:
    """The whole SVG; `label` is for screen readers."""
    return tag(
        "svg", *inner, class_=f"chart {class_}".strip(), role="group", aria_label=label,
        viewBox=f"0 0 {area.width:g} {area.height:g}", xmlns="http://www.w3.org/2000/svg",
    )  # fmt: skip


def text(x: float, y: float, content: str, anchor: str = "start", class_: str = "tick") -> Markup:
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(one: XY, other: XY, class_: str) -> Markup:
    return tag("line", x1=one[0], y1=one[1], x2=other[0], y2=other[1], class_=class_)


def path(
    points: Sequence[XY], class_: str, *, steps: bool = False, closed: bool = False
) -> Markup:
    """A line through points in pixels; with `steps`, horizontal until the next one."""
    if not points:
        return Markup("")
    commands = [f"M{_short(points[0][0])} {_short(points[0][1])}"]
    for x, y in points[1:]:
        commands.append(f"H{_short(x)}V{_short(y)}" if steps else f"L{_short(x)} {_short(y)}")
    return tag("path", d="".join(commands) + ("Z" if closed else ""), class_=class_)


def axes(
    area: Area,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    *,
    x_name: str,
    y_name: str,
    x_labels: Sequence[str] | None = None,
    below: float = 0.0,
) -> Markup:
    """Grid lines, ticks and axis names; `below` is the height of lanes under the axes."""
    foot = area.bottom + below
    shown = x_labels or [f"{tick:g}" for tick in x_ticks]
    parts = []
    for tick, label in zip(x_ticks, shown, strict=True):
        at = area.x(tick)
        parts += [line((at, area.top), (at, foot), "grid"), text(at, foot + 15, label, "middle")]
    for tick in y_ticks:
        at = area.y(tick)
        parts.append(line((area.left, at), (area.right, at), "grid"))
        if not below or area.bottom - at > 8:
            parts.append(text(area.left - 6, at + 4, f"{tick:.6g}", "end"))
    parts.append(text((area.left + area.right) / 2, foot + 32, x_name, "middle", "axis"))
    parts.append(text(2, 12, y_name, "start", "axis"))
    return join(parts)


def cross(x: float, y: float, r: float) -> str:
    left, right, top, bottom = (f"{each:.1f}" for each in (x - r, x + r, y - r, y + r))
    return f"M{left} {top}L{right} {bottom}M{left} {bottom}L{right} {top}"


def star(x: float, y: float, r: float) -> str:
    """Five points, the first one up."""
    radii = [(r if n % 2 == 0 else 0.45 * r, math.pi * (n / 5 - 0.5)) for n in range(10)]
    points = [f"{x + each * math.cos(a):.1f} {y + each * math.sin(a):.1f}" for each, a in radii]
    return f"M{'L'.join(points)}Z"
