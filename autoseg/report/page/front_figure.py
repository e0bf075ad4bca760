"""The front as a picture: latency (log scale) against IoU, with what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from autoseg.core.records import Constraints
from autoseg.report.axes import (
    iou_interval,
    iou_limits,
    latency_interval,
    latency_name,
    ms_limits,
    ms_ticks,
    ticks,
)
from autoseg.report.page.points import Spot
from autoseg.report.page.svg import (
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

LANE = 17.0
# Under the figures: what has a latency and no place by its IoU.
LANES = {"below": "lower IoU", "untrained": "not trained", "too_slow": "too slow"}


@dataclass(frozen=True)
class Series:
    """The points of one run on one device; `mark` is its class in the style.

    The points of the keys that are `linked` lead to the sections of their models.
    """

    name: str
    spots: Sequence[Spot]
    constraints: Constraints
    mark: str = "one"
    linked: frozenset[str] = frozenset()


def front_picture(series: Sequence[Series], *, narrow: bool = False) -> Markup:
    """One point for each measured candidate of each series. The narrow one is for phones."""
    low, high = _iou_limits(series)
    lanes = [lane for lane in LANES if any(_lane(s, low) == lane for g in series for s in g.spots)]
    area = _area(series, (low, high), len(lanes), narrow=narrow)
    return picture(
        area,
        "latency against IoU; the arrow keys walk from model to model",
        _lane_names(area, lanes),
        _axes(area, series, LANE * len(lanes), narrow=narrow),
        _asked(area, series),
        *(_rest(area, group, lanes, low) for group in series),
        *(_front(area, group) for group in series),
        class_="front narrow" if narrow else "front wide",
    )


def _area(series: Sequence[Series], iou: tuple[float, float], lanes: int, *, narrow: bool) -> Area:
    width, height = (400.0, 440.0) if narrow else (820.0, 480.0)
    seen = [spot.ms for group in series for spot in group.spots]
    seen += [group.constraints.max_latency_ms for group in series]
    left, foot = (68.0, 42.0) if narrow else (70.0, 44.0)
    return Area(
        width,
        height,
        Scale(*ms_limits(seen), left, width - 16, log=True),
        Scale(*iou, height - foot - LANE * lanes, 40.0),
    )


def _iou_limits(series: Sequence[Series]) -> tuple[float, float]:
    shown = [s for g in series for s in g.spots if s.iou is not None]
    must = [s for s in shown if s.kind in ("front", "best", "rejected") or s.near]
    ends = [end for s in must for end in iou_interval(s.evaluation) or () if s.kind == "front"]
    floors = [group.constraints.min_iou for group in series]
    return iou_limits([*floors, *_ious(must)], ends, _ious(shown))


def _ious(spots: Sequence[Spot]) -> list[float]:
    return [spot.iou for spot in spots if spot.iou is not None]


def _lane(spot: Spot, low: float) -> str | None:
    """Where a point lies that has no place in the picture by its IoU."""
    if spot.iou is None:
        return "too_slow" if spot.kind == "too_slow" else "untrained"
    return "below" if spot.iou < low else None


def _axes(area: Area, series: Sequence[Series], below: float, *, narrow: bool) -> Markup:
    seen = [spot.evaluation for group in series for spot in group.spots]
    name = latency_name(seen, series[0].constraints.statistic)
    across = ms_ticks(area.x.low, area.x.high, 6 if narrow else 10)
    return axes(
        area, across, ticks(area.y.low, area.y.high), below=below,
        x_name=f"{name} in ms, log scale", y_name="IoU on val",
    )  # fmt: skip


def _asked(area: Area, series: Sequence[Series]) -> Markup:
    parts = []
    for group in {each.constraints: each for each in reversed(series)}.values():
        ceiling, floor = group.constraints.max_latency_ms, group.constraints.min_iou
        x, y = area.at(ceiling, floor)
        first = group is series[0]
        parts += [
            tag(
                "rect", x=area.left, y=area.top, width=max(0.0, x - area.left),
                height=max(0.0, y - area.top), class_=f"asked {group.mark}",
            ),
            line((x, area.top), (x, area.height - 44), f"limit {group.mark}"),
            line((area.left, y), (area.right, y), f"limit {group.mark}"),
        ]  # fmt: skip
        right = x > area.right - 60
        parts += [
            text(
                area.right if right else x, area.top - (6 if first else 20),
                f"ceiling {ceiling:g} ms", "end" if right else "middle", "limitname",
            ),
        ]  # fmt: skip
        if first or floor != series[0].constraints.min_iou:
            under = y + (-5 if first else 14)
            free = (x if right else area.right) - 4  # not across the ceiling's line
            parts.append(text(free, under, f"floor {floor:g}", "end", "limitname"))
    return join(parts)


def _lane_names(area: Area, lanes: Sequence[str]) -> Markup:
    parts = []
    for place, lane in enumerate(lanes):
        top = area.bottom + LANE * place
        parts.append(
            tag(
                "rect", x=area.left, y=top, width=area.right - area.left, height=LANE,
                class_="lane odd" if place % 2 else "lane",
            )
        )  # fmt: skip
        parts.append(text(area.left - 6, top + 12.5, LANES[lane], "end", "lanename"))
    return join(parts)


def _rest(area: Area, group: Series, lanes: Sequence[str], low: float) -> Markup:
    """All but the front, so that nothing lies over it."""
    order = ("too_slow", "untrained", "beaten", "rejected")
    rest = [s for kind in order for s in group.spots if s.kind == kind]
    parts = []
    for spot in rest:
        lane = _lane(spot, low)
        if lane is None:
            x, y = area.at(spot.ms, spot.iou or 0.0)
        else:
            x, y = area.x(spot.ms), area.bottom + LANE * (lanes.index(lane) + 0.5)
        parts.append(_point(spot, group, (x, y), lane))
    return join(parts)


def _front(area: Area, group: Series) -> Markup:
    best = [s for s in group.spots if s.kind in ("front", "best")]
    at = [area.at(spot.ms, spot.iou or 0.0) for spot in best]
    whiskers = [_whiskers(area, s, group) for s in best if s.kind == "front"]
    # Steps: between two models nothing more is had than the faster one's IoU.
    steps = path(at, f"steps {group.mark}", steps=True) if len(at) > 1 else Markup("")
    return join(
        [steps, *whiskers, *(_point(s, group, xy, None) for s, xy in zip(best, at, strict=True))]
    )


def _whiskers(area: Area, spot: Spot, group: Series) -> Markup:
    """The 95 % intervals on both axes."""
    x, y = area.at(spot.ms, spot.iou or 0.0)
    parts = []
    if across := latency_interval(spot.evaluation, group.constraints.statistic):
        ends = [area.at(end, spot.iou or 0.0)[0] for end in across]
        parts.append(line((ends[0], y), (ends[1], y), f"whisker {group.mark}"))
    if up := iou_interval(spot.evaluation):
        ends = [area.at(spot.ms, end)[1] for end in up]
        parts.append(line((x, ends[0]), (x, ends[1]), f"whisker {group.mark}"))
    return join(parts)


def _point(spot: Spot, group: Series, xy: tuple[float, float], lane: str | None) -> Markup:
    """A link to the model's section where it has one; without a script that is all it does."""
    x, y = xy
    classes = ["point", spot.kind, group.mark]
    classes += [name for name in ("baseline", "near") if getattr(spot, name)]
    inner = [tag("title", spot.said), _shape(spot, x, y, lane)]
    if spot.near:
        inner.insert(1, tag("circle", cx=x, cy=y, r=10, class_="ring"))
    if spot.rank is not None:
        inner.append(text(x - 7, y - 7, str(spot.rank), "end", "rank"))
    best = spot.kind in ("front", "best")
    linked = spot.key in group.linked
    return tag(
        "a" if linked else "g", *inner, class_=" ".join(classes),
        href=f"#model-{spot.key}" if linked else None, data_key=spot.key, data_run=group.mark,
        data_x=x, data_y=y, tabindex=0 if best else -1, role=None if linked else "img",
        aria_label=spot.said,
    )  # fmt: skip


def _shape(spot: Spot, x: float, y: float, lane: str | None) -> Markup:
    if spot.baseline:
        return tag("path", d=star(x, y, 9 if lane is None else 8), class_="shape")
    if spot.kind == "rejected":
        return tag("path", d=cross(x, y, 4.5), class_="shape")
    if lane is not None:
        return tag("rect", x=x - 1.5, y=y - 5, width=3, height=10, rx=1.5, class_="shape")
    return tag("circle", cx=x, cy=y, r=6 if spot.kind == "front" else 4, class_="shape")
