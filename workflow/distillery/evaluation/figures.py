"""The figure of one experiment: accuracies with their 95 % intervals, one panel per task.

    over: none     one bar per arm, whiskers for the interval; several models side by side in colours
    over: <path>   accuracy over the swept setting, a band for the interval, one colour per arm; arms without that
                   setting are dashed lines

Numbers that a paper prints are diamonds. Rendered offline by vl-convert with its own fonts, so that equal
tables give equal files.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from distillery.config.experiment import Figure
from distillery.errors import UserError
from distillery.evaluation.table_records import Row, Table
from distillery.evaluation.tables import titled
from distillery.files import atomic_open

# Okabe and Ito's colours, which people with any colour vision can distinguish; black is kept for text, and yellow is
# too light for lines.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"]
PUBLISHED_COLOUR = "#B02A1C"
PUBLISHED = "published"
INK, SOFT, GRID = "#1c1e21", "#5b626b", "#e3e6ea"

# Liberation Sans comes with vl-convert; the others are for browsers that open the SVG.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
PNG_SCALE = 2
COLUMNS = 3

BAR, STEP = 17, 24
"""Height of a bar, and of the row of an arm with one bar, in pixels."""

LOGARITHMIC_FROM = 8
"""Largest over smallest value of a sweep from which the axis is logarithmic."""


def draw(table: Table, figure: Figure) -> alt.TopLevelMixin:
    """The chart of a table: its rows that a model made.

    Raises:
        UserError: No row of the table sweeps the setting that `figure.over` names.
    """
    table = replace(table, rows=tuple(row for row in table.rows if row.model))
    panels = list(dict.fromkeys(row.task_title for row in table.rows))
    layers = _bars(table) if figure.over is None else _curves(table, figure.over)
    title = alt.TitleParams(
        figure.title or table.title,
        subtitle=f"Accuracy with 95 % interval, grader {table.grader}",
        anchor="start",
        fontSize=16,
        subtitleFontSize=12,
        subtitleColor=SOFT,
        offset=14,
    )
    return (
        layers.facet(
            facet=alt.Facet(
                "panel:N",
                sort=panels,
                title=None,
                header=alt.Header(labelFontSize=13, labelFontWeight="bold", labelAnchor="start", labelLimit=0),
            ),
            columns=min(COLUMNS, len(panels)),
            spacing=36,
        )
        .properties(title=title)
        .configure(font=FONT, background="white", padding=16)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor=INK,
            titleColor=SOFT,
            gridColor=GRID,
            domainColor=SOFT,
            tickColor=SOFT,
            labelLimit=0,
            titlePadding=8,
        )
        .configure_legend(orient="bottom", title=None, labelFontSize=12, labelLimit=0, symbolSize=90, columnPadding=18)
    )


def save_figure(chart: alt.TopLevelMixin, svg: Path, png: Path) -> None:
    """Write a chart as vectors and as pixels (twice the nominal size), each atomically, without a network."""
    spec = chart.to_dict()
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    with atomic_open(svg) as out:
        out.write(vl_convert.vegalite_to_svg(spec, vl_version=version, allowed_base_urls=[]))
    with atomic_open(png, "wb") as out:
        out.write(vl_convert.vegalite_to_png(spec, vl_version=version, scale=PNG_SCALE, allowed_base_urls=[]))


def _bars(table: Table) -> alt.LayerChart:
    arms = list(dict.fromkeys(row.arm for row in table.rows))
    models = list(dict.fromkeys(row.model for row in table.rows))
    points = [_point(row) for row in table.rows]
    most = _beside_each_other(points)
    for point in points:
        # The number is right of both the whisker and the diamond.
        point["label_at"] = max(point["high"], point["published"] or 0)
        point["label"] = f"{point['accuracy']:.1f}"
    base = alt.Chart(alt.Data(values=points)).encode(
        y=alt.Y("arm:N", sort=arms, title=None, axis=alt.Axis(grid=False, ticks=False, domain=False, labelPadding=10)),
    )
    if most > 1:
        base = base.encode(yOffset=alt.YOffset("offset:Q", scale=alt.Scale(domain=[-most / 2, most / 2])))
    bars = base.mark_bar(height=BAR, opacity=0.85).encode(
        x=alt.X(
            "accuracy:Q",
            title="Accuracy (%)",
            scale=_percent_scale(table),
            axis=alt.Axis(tickCount=5, labelFlush=False),
        ),
        color=_colours("model", models),
    )
    whiskers = base.mark_rule(color=INK, strokeWidth=1.3).encode(x=alt.X("low:Q"), x2="high:Q")
    ends = [base.mark_tick(color=INK, thickness=1.3, size=7).encode(x=alt.X(f"{end}:Q")) for end in ("low", "high")]
    labels = base.mark_text(align="left", dx=7, fontSize=11, color=INK).encode(x=alt.X("label_at:Q"), text="label:N")
    return alt.layer(bars, whiskers, *ends, *_published(base, table, "x"), labels).properties(
        width=240, height=round(STEP * (1 + (most - 1) * 0.9) * len(arms))
    )


def _beside_each_other(points: list[dict[str, Any]]) -> int:
    """Place the models of each arm around its label, as `offset` in bars; return the most models that an arm has.

    An arm has the models of its own rows only: an offset for every model of the table would move the bar of an arm with
    one model away from its label.
    """
    arms: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for point in points:
        arms.setdefault((point["panel"], point["arm"]), []).append(point)
    for group in arms.values():
        for place, point in enumerate(group):
            point["offset"] = place - (len(group) - 1) / 2
    return max(map(len, arms.values()))


def _curves(table: Table, over: str) -> alt.LayerChart:
    swept = [row for row in table.rows if over in row.swept]
    if not swept:
        paths = sorted({path for row in table.rows for path in row.swept}) or ["nothing"]
        raise UserError(
            "no arm of the experiment sweeps this setting",
            file=f"experiment {table.experiment}",
            key="figure.over",
            value=over,
            remedy=f"Its arms sweep {', '.join(paths)}",
        )
    several_models = len({row.model for row in table.rows}) > 1
    curves = {id(row): _curve(row, over, table.labels, several_models) for row in table.rows}
    names = list(dict.fromkeys(curves.values()))
    x, place, places = _swept_axis(table.labels[over], [row.swept[over] for row in swept])
    rows = [_point(row) | {"curve": curves[id(row)], "at": place(row.swept[over])} for row in swept]
    # An arm without the setting is the same at every value: its line needs two points.
    rows += [
        _point(row) | {"curve": curves[id(row)], "at": end, "constant": True}
        for row in table.rows
        if over not in row.swept
        for end in dict.fromkeys((places[0], places[-1]))
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x)
    colour = _colours("curve", names)
    y = alt.Y("accuracy:Q", title="Accuracy (%)", scale=_percent_scale(table), axis=alt.Axis(tickCount=5))
    varying, constant = "!isValid(datum.constant)", "isValid(datum.constant)"
    band = base.transform_filter(varying).mark_area(opacity=0.16).encode(y=alt.Y("low:Q"), y2="high:Q", color=colour)
    line = base.transform_filter(varying).mark_line(strokeWidth=2).encode(y=y, color=colour)
    dots = base.transform_filter(varying).mark_circle(size=55, opacity=1).encode(y=y, color=colour)
    dashed = base.transform_filter(constant).mark_line(strokeWidth=1.6, strokeDash=[5, 4]).encode(y=y, color=colour)
    marks = [band, dashed, line, dots, *_published(base.transform_filter(varying), table, "y")]
    return alt.layer(*marks).properties(width=300, height=240)


def _curve(row: Row, over: str, labels: Mapping[str, str], several_models: bool) -> str:
    others = {path: value for path, value in row.swept.items() if path != over}
    name = titled(row.arm_title, others, labels)
    return f"{name}, {row.model}" if several_models else name


def _swept_axis(label: str, values: list[Any]) -> tuple[alt.X, Callable[[Any], Any], list[Any]]:
    """The axis of a swept setting, where a value lies on it, and all these places in their order."""
    title = label.replace("_", " ")
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        words = list(dict.fromkeys(map(str, values)))
        return alt.X("at:O", title=title, sort=words, axis=alt.Axis(labelAngle=0, grid=False)), str, words
    places = sorted(set(values))
    logarithmic = places[0] > 0 and places[-1] >= LOGARITHMIC_FROM * places[0]
    scale = alt.Scale(type="log" if logarithmic else "linear", zero=False, nice=False, padding=12)
    axis = alt.Axis(values=places, grid=False, format="~g", labelOverlap=True)
    return alt.X("at:Q", title=title, scale=scale, axis=axis), lambda value: value, places


def _point(row: Row) -> dict[str, Any]:
    return {
        "panel": row.task_title,
        "arm": row.arm,
        "model": row.model,
        "accuracy": row.accuracy,
        "low": row.interval[0],
        "high": row.interval[1],
        "published": row.published,
        "mark": PUBLISHED,
    }


def _published(base: alt.Chart, table: Table, channel: str) -> list[alt.Chart]:
    """Diamonds with a legend of their own, where the table has published numbers."""
    if all(row.published is None for row in table.rows):
        return []
    position = {"x": alt.X, "y": alt.Y}[channel]("published:Q")
    shape = alt.Shape("mark:N", title=None, scale=alt.Scale(domain=[PUBLISHED], range=["diamond"]))
    points = base.transform_filter("isValid(datum.published)")
    points = points.mark_point(size=75, filled=True, opacity=1, color=PUBLISHED_COLOUR, stroke="white", strokeWidth=1)
    return [points.encode(**{channel: position}, shape=shape)]


def _colours(field: str, names: list[str]) -> alt.Color:
    """One colour per name; a legend only where there are several."""
    palette = [COLOURS[place % len(COLOURS)] for place in range(len(names))]
    legend = alt.Legend(symbolType="circle", symbolOpacity=1, columns=min(len(names), 4)) if len(names) > 1 else None
    return alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=names, range=palette), legend=legend)


def _percent_scale(table: Table) -> alt.Scale:
    """From 0, so that lengths compare, to the next round number above every mark."""
    top = max(max(row.interval[1], row.published or 0) for row in table.rows)
    step = 10 if top <= 50 else 20
    return alt.Scale(domain=[0, max(step, step * ceil(top / step))], nice=False)
