"""The plot of the front as SVG: latency (log scale) against IoU, with the constraints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autoseg.core.records import STATE_LABELS
from autoseg.report.page.formatting import point_text
from autoseg.report.page.svg import (
    XY,
    Area,
    Scale,
    axes,
    cross,
    join,
    line,
    path,
    picture,
    star,
    tag,
    text,
)
from autoseg.report.plot_data import (
    BEST,
    FrontPlot,
    PlotPoint,
    PointKind,
    latency_name,
    ms_ticks,
    plot_iou_limits,
    plot_ms_limits,
    ticks,
)

LANE = 17.0  # pixels: the height of a lane
# Under the axes: points that have a latency and no place by their IoU.
LANES = {
    "below": "lower IoU",
    "untrained": STATE_LABELS["measured"],
    "too_slow": STATE_LABELS["too_slow"],
}


@dataclass(frozen=True)
class Series:
    """The points of one run; `mark` is its CSS class.

    The points with the keys in `linked` are links to the sections of their models.
    """

    plot: FrontPlot
    mark: str = "one"
    linked: frozenset[str] = frozenset()


def front_picture(series: Sequence[Series], *, narrow: bool = False) -> Markup:
    """One point for each measured candidate of each series; `narrow` is for phones."""
    plots = [each.plot for each in series]
    low, high = plot_iou_limits(plots)
    used = {_lane(point, low) for plot in plots for point in plot.points}
    lanes = [lane for lane in LANES if lane in used]
    area = _area(plots, (low, high), len(lanes), narrow=narrow)
    return picture(
        area,
        "latency against IoU; the arrow keys move from model to model",
        _lane_names(area, lanes),
        _axes(area, plots, LANE * len(lanes), narrow=narrow),
        _constraints(area, series),
        *(_rest(area, group, lanes, low) for group in series),
        *(_front(area, group) for group in series),
        class_="front narrow" if narrow else "front wide",
    )


def _area(
    plots: Sequence[FrontPlot], iou: tuple[float, float], lanes: int, *, narrow: bool
) -> Area:
    width, height = (400.0, 440.0) if narrow else (820.0, 480.0)
    left, foot = (68.0, 42.0) if narrow else (70.0, 44.0)
    across = Scale(*plot_ms_limits(plots), left, width - 16, log=True)
    return Area(width, height, across, Scale(*iou, height - foot - LANE * lanes, 40.0))


def _lane(point: PlotPoint, low: float) -> str | None:
    """The lane of a point without a place by its IoU."""
    if point.iou is None:
        return "too_slow" if point.kind == "too_slow" else "untrained"
    return "below" if point.iou < low else None


def _axes(area: Area, plots: Sequence[FrontPlot], below: float, *, narrow: bool) -> Markup:
    across = ms_ticks(area.x.low, area.x.high, 6 if narrow else 10)
    return axes(
        area, across, ticks(area.y.low, area.y.high), below=below,
        x_name=f"{latency_name(plots)} in ms, log scale", y_name="IoU on val",
    )  # fmt: skip


def _constraints(area: Area, series: Sequence[Series]) -> Markup:
    parts = []
    shared_floor = series[0].plot.constraints.min_iou
    for group in {each.plot.constraints: each for each in reversed(series)}.values():
        ceiling, floor = group.plot.constraints.max_latency_ms, group.plot.constraints.min_iou
        x, y = area.at(ceiling, floor)
        first = group is series[0]
        parts += [
            tag(
                "rect", x=area.left, y=area.top, width=max(0.0, x - area.left),
                height=max(0.0, y - area.top), class_=f"feasible {group.mark}",
            ),
            line((x, area.top), (x, area.height - 44), f"limit {group.mark}"),
            line((area.left, y), (area.right, y), f"limit {group.mark}"),
        ]  # fmt: skip
        right = x > area.right - 60
        at, anchor = (area.right, "end") if right else (x, "middle")
        above = area.top - (6 if first else 20)
        parts.append(text(at, above, f"ceiling {ceiling:g} ms", anchor, "limitname"))
        if first or floor != shared_floor:
            under = y + (-5 if first else 14)
            free = (x if right else area.right) - 4  # not across the ceiling's line
            parts.append(text(free, under, f"floor {floor:g}", "end", "limitname"))
    return join(parts)


def _lane_names(area: Area, lanes: Sequence[str]) -> Markup:
    parts, width = [], area.right - area.left
    for place, lane in enumerate(lanes):
        top, kind = area.bottom + LANE * place, "lane odd" if place % 2 else "lane"
        parts += [
            tag("rect", x=area.left, y=top, width=width, height=LANE, class_=kind),
            text(area.left - 6, top + 12.5, LANES[lane], "end", "lanename"),
        ]
    return join(parts)


def _rest(area: Area, group: Series, lanes: Sequence[str], low: float) -> Markup:
    """All points but the front, which is drawn over them."""
    parts = []
    for point in (p for kind in _DRAWING_ORDER for p in group.plot.of_kind(kind)):
        lane = _lane(point, low)
        if lane is None:
            at = area.at(point.ms, point.iou or 0.0)
        else:
            at = area.x(point.ms), area.bottom + LANE * (lanes.index(lane) + 0.5)
        parts.append(_point(point, group, at, lane))
    return join(parts)


_DRAWING_ORDER: tuple[PointKind, ...] = ("too_slow", "untrained", "dominated", "rejected")


def _front(area: Area, group: Series) -> Markup:
    best = group.plot.of_kind(*BEST)
    at = [area.at(point.ms, point.iou or 0.0) for point in best]
    whiskers = [_whiskers(area, point, group.mark) for point in best if point.kind == "front"]
    # Steps: for a latency between two models, the faster one's IoU is the best available.
    steps = path(at, f"steps {group.mark}", steps=True) if len(at) > 1 else Markup("")
    points = [_point(p, group, xy, None) for p, xy in zip(best, at, strict=True)]
    return join([steps, *whiskers, *points])


def _whiskers(area: Area, point: PlotPoint, mark: str) -> Markup:
    """The 95 % intervals on both axes."""
    ms, iou = point.ms, point.iou or 0.0
    across = [area.at(end, iou) for end in point.latency.ci95 or ()]
    up = [area.at(ms, end) for end in point.row["iou_val"].ci95 or ()]
    return join(line(ends[0], ends[1], f"whisker {mark}") for ends in (across, up) if ends)


def _point(point: PlotPoint, group: Series, at: XY, lane: str | None) -> Markup:
    """The point; a link to the model's section where the page has one."""
    (x, y), label = at, point_text(point)
    classes = ["point", point.kind, group.mark]
    classes += ["baseline"] * point.row.is_baseline + ["near"] * point.near
    inner = [tag("title", label), _shape(point, at, lane)]
    if point.near:
        inner.insert(1, tag("circle", cx=x, cy=y, r=10, class_="ring"))
    if point.rank is not None:
        inner.append(text(x - 7, y - 7, str(point.rank), "end", "rank"))
    linked = point.key in group.linked
    return tag(
        "a" if linked else "g", *inner, class_=" ".join(classes),
        href=f"#model-{point.key}" if linked else None, data_key=point.key, data_run=group.mark,
        data_x=x, data_y=y, tabindex=0 if point.kind in BEST else -1,
        role=None if linked else "img", aria_label=label,
    )  # fmt: skip


def _shape(point: PlotPoint, at: XY, lane: str | None) -> Markup:
    x, y = at
    if point.row.is_baseline:
        return tag("path", d=star(x, y, 9 if lane is None else 8), class_="shape")
    if point.kind == "rejected":
        return tag("path", d=cross(x, y, 4.5), class_="shape")
    if lane is not None:
        return tag("rect", x=x - 1.5, y=y - 5, width=3, height=10, rx=1.5, class_="shape")
    return tag("circle", cx=x, cy=y, r=6 if point.kind == "front" else 4, class_="shape")
