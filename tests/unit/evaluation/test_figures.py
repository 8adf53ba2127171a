"""What a figure holds: marks, axes, colours and texts, written out here as Vega-Lite knows them.

The expected charts are whole, so that a lost axis title, a swapped field or another order of layers is seen. A change
of the design changes them on purpose.
"""

import pytest

from distillery.config.experiment import Figure
from distillery.evaluation.figures import draw
from distillery.evaluation.output_space import Arm, draw_study
from distillery.evaluation.table_records import Row

from .rows import row, table

BLUE, ORANGE, RED, INK, SOFT, GRID = "#0072B2", "#E69F00", "#B02A1C", "#1c1e21", "#5b626b", "#e3e6ea"
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
CONFIG = {
    "view": {"continuousWidth": 300, "continuousHeight": 300, "stroke": None},
    "axis": {
        "domainColor": SOFT, "gridColor": GRID, "labelColor": INK, "labelFontSize": 12, "labelLimit": 0,
        "tickColor": SOFT, "titleColor": SOFT, "titleFontSize": 12, "titleFontWeight": "normal", "titlePadding": 8,
    },
    "background": "white", "font": FONT, "padding": 16,
    "legend": {
        "columnPadding": 18, "labelFontSize": 12, "labelLimit": 0, "orient": "bottom", "symbolSize": 90, "title": None,
    },
}  # fmt: skip
HEADER = {"labelAnchor": "start", "labelFontSize": 13, "labelFontWeight": "bold", "labelLimit": 0}
DIAMOND = {"type": "point", "color": RED, "filled": True, "opacity": 1, "size": 75, "stroke": "white", "strokeWidth": 1}
SHAPE = {"field": "mark", "scale": {"domain": ["published"], "range": ["diamond"]}, "title": None, "type": "nominal"}


def quantity(field: str, **more) -> dict:
    return {"field": field, "type": "quantitative", **more}


def colours(field: str, names: list[str]) -> dict:
    legend = {"columns": len(names), "symbolOpacity": 1, "symbolType": "circle"} if len(names) > 1 else None
    scale = {"domain": names, "range": [BLUE, ORANGE][: len(names)]}
    return {"field": field, "legend": legend, "scale": scale, "title": None, "type": "nominal"}


def shown(chart) -> dict:
    found = chart.to_dict()
    assert found.pop("$schema").startswith("https://vega.github.io/schema/vega-lite/v")
    return found


def title(text: str) -> dict:
    return {
        "text": text, "anchor": "start", "fontSize": 16, "offset": 14, "subtitleColor": SOFT, "subtitleFontSize": 12,
        "subtitle": "Accuracy with 95 % interval, grader robust",
    }  # fmt: skip


def test_bars_have_whiskers_numbers_and_diamonds_in_panels_by_task():
    drawn = shown(
        draw(
            table(
                row("MID", "small", 60.0, 31.3, 83.2, task="Coin"),
                row("ZETA", "small", 60.0, 31.3, 83.2, published=90.0),
                row("ALPHA", "small", 20.0, 5.7, 51.0),
                row("ALPHA", "big", 90.0, 59.6, 98.2),
            ),
            Figure(),
        )
    )
    place = {
        "y": {"axis": {"domain": False, "grid": False, "labelPadding": 10, "ticks": False}, "field": "arm",
              "sort": ["MID", "ZETA", "ALPHA"], "title": None, "type": "nominal"},
        "yOffset": quantity("offset", scale={"domain": [-1.0, 1.0]}),
    }  # fmt: skip
    tick = {"type": "tick", "color": INK, "size": 7, "thickness": 1.3}
    accuracy = quantity(
        "accuracy", title="Accuracy (%)", axis={"labelFlush": False, "tickCount": 5},
        scale={"domain": [0, 100], "nice": False},
    )  # fmt: skip
    assert drawn.pop("data")["values"] == [
        {"panel": panel, "arm": arm, "model": model, "accuracy": accuracy, "low": low, "high": high,
         "published": published, "mark": "published", "offset": offset, "label_at": label_at, "label": label}
        for panel, arm, model, accuracy, low, high, published, offset, label_at, label in [
            ("Coin", "MID", "small", 60.0, 31.3, 83.2, None, 0.0, 83.2, "60.0"),
            ("Sums", "ZETA", "small", 60.0, 31.3, 83.2, 90.0, 0.0, 90.0, "60.0"),
            ("Sums", "ALPHA", "small", 20.0, 5.7, 51.0, None, -0.5, 51.0, "20.0"),
            ("Sums", "ALPHA", "big", 90.0, 59.6, 98.2, None, 0.5, 98.2, "90.0"),
        ]
    ]  # fmt: skip
    assert drawn == {
        "config": CONFIG, "title": title("Mini"), "columns": 2, "spacing": 36,
        "facet": {"field": "panel", "header": HEADER, "sort": ["Coin", "Sums"], "title": None, "type": "nominal"},
        "spec": {
            "width": 240, "height": 137,  # 24 for each of three arms, 90 % more for the second bar: 136.8
            "layer": [
                {"mark": {"type": "bar", "height": 17, "opacity": 0.85},
                 "encoding": {"color": colours("model", ["small", "big"]), "x": accuracy, **place}},
                {"mark": {"type": "rule", "color": INK, "strokeWidth": 1.3},
                 "encoding": {"x": quantity("low"), "x2": {"field": "high"}, **place}},
                {"mark": tick, "encoding": {"x": quantity("low"), **place}},
                {"mark": tick, "encoding": {"x": quantity("high"), **place}},
                {"mark": DIAMOND, "encoding": {"shape": SHAPE, "x": quantity("published"), **place},
                 "transform": [{"filter": "isValid(datum.published)"}]},
                {"mark": {"type": "text", "align": "left", "color": INK, "dx": 7, "fontSize": 11},
                 "encoding": {"text": {"field": "label", "type": "nominal"}, "x": quantity("label_at"), **place}},
            ],
        },
    }  # fmt: skip


def test_arms_with_one_model_have_no_offset_no_legend_and_no_diamonds():
    drawn = shown(draw(table(row("A", "m", 10.0, 5.0, 20.0), row("B", "m", 20.0, 9.0, 33.0)), Figure(title="Own")))
    (bars, *others) = drawn["spec"]["layer"]
    assert [layer["mark"]["type"] for layer in others] == ["rule", "tick", "tick", "text"]
    assert "yOffset" not in bars["encoding"] and bars["encoding"]["color"] == colours("model", ["m"])
    assert bars["encoding"]["x"]["scale"] == {"domain": [0, 40], "nice": False}
    assert (drawn["title"]["text"], drawn["columns"], drawn["spec"]["height"]) == ("Own", 1, 48)


@pytest.mark.parametrize(
    ("high", "published", "top"),
    [(3.0, None, 10), (50.0, None, 50), (50.1, None, 60), (60.0, 81.0, 100), (0.0, None, 10)],
)
def test_the_axis_ends_at_the_next_round_number_above_every_mark(high, published, top):
    drawn = shown(draw(table(row("A", "m", 0.0, 0.0, high, published=published)), Figure()))
    assert drawn["spec"]["layer"][0]["encoding"]["x"]["scale"]["domain"] == [0, top]


def degrees(*values, **changes) -> list[Row]:
    return [
        row("COT", "m", 10.0 * n, 5.0, 80.0, swept={"rows.degree": value}, **changes) for n, value in enumerate(values)
    ]


def test_curves_have_bands_and_dots_and_arms_without_the_setting_are_dashed():
    swept = [*degrees(1, 2, 8), row("BASE", "m", 60.0, 31.3, 83.2)]
    swept[1] = row("COT", "m", 10.0, 5.0, 80.0, swept={"rows.degree": 2}, published=50.0)
    drawn = shown(draw(table(*swept, labels={"rows.degree": "de_gree"}), Figure(over="rows.degree")))
    axis = {"format": "~g", "grid": False, "labelOverlap": True, "values": [1, 2, 8]}
    x = quantity("at", axis=axis, title="de gree", scale={"nice": False, "padding": 12, "type": "log", "zero": False})
    y = quantity("accuracy", axis={"tickCount": 5}, title="Accuracy (%)", scale={"domain": [0, 100], "nice": False})
    colour = colours("curve", ["COT", "BASE"])
    varying, constant = [{"filter": "!isValid(datum.constant)"}], [{"filter": "isValid(datum.constant)"}]
    cot = {"panel": "Sums", "arm": "COT", "model": "m", "low": 5.0, "high": 80.0, "mark": "published", "curve": "COT"}
    base = {"panel": "Sums", "arm": "BASE", "model": "m", "accuracy": 60.0, "low": 31.3, "high": 83.2, "curve": "BASE",
            "published": None, "mark": "published", "constant": True}  # fmt: skip
    assert drawn.pop("data")["values"] == [
        {**cot, "accuracy": 0.0, "published": None, "at": 1},
        {**cot, "accuracy": 10.0, "published": 50.0, "at": 2},
        {**cot, "accuracy": 20.0, "published": None, "at": 8},
        {**base, "at": 1},
        {**base, "at": 8},
    ]
    assert drawn["spec"] == {
        "width": 300, "height": 240,
        "layer": [
            {"mark": {"type": "area", "opacity": 0.16}, "transform": varying,
             "encoding": {"color": colour, "x": x, "y": quantity("low"), "y2": {"field": "high"}}},
            {"mark": {"type": "line", "strokeDash": [5, 4], "strokeWidth": 1.6}, "transform": constant,
             "encoding": {"color": colour, "x": x, "y": y}},
            {"mark": {"type": "line", "strokeWidth": 2}, "transform": varying,
             "encoding": {"color": colour, "x": x, "y": y}},
            {"mark": {"type": "circle", "opacity": 1, "size": 55}, "transform": varying,
             "encoding": {"color": colour, "x": x, "y": y}},
            {"mark": DIAMOND, "transform": [*varying, {"filter": "isValid(datum.published)"}],
             "encoding": {"shape": SHAPE, "x": x, "y": quantity("published")}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "axis"),
    [
        ([1, 7], ("quantitative", "linear", [1, 7])),
        ([8, 1], ("quantitative", "log", [1, 8])),
        ([0, 8], ("quantitative", "linear", [0, 8])),
        ([0.5, 0.25, 0.5], ("quantitative", "linear", [0.25, 0.5])),
    ],
)
def test_a_sweep_over_a_factor_of_eight_has_a_logarithmic_axis(values, axis):
    drawn = shown(draw(table(*degrees(*values), labels={"rows.degree": "degree"}), Figure(over="rows.degree")))
    x = drawn["spec"]["layer"][0]["encoding"]["x"]
    assert (x["type"], x["scale"]["type"], x["axis"]["values"]) == axis


@pytest.mark.parametrize("values", [["b", "a"], [True, False], ["b", 1]])
def test_a_sweep_over_words_keeps_their_order(values):
    swept = [*degrees(*values), row("BASE", "m", 60.0, 31.3, 83.2)]
    drawn = shown(draw(table(*swept, labels={"rows.degree": "degree"}), Figure(over="rows.degree")))
    words = [str(value) for value in values]
    assert drawn["spec"]["layer"][0]["encoding"]["x"] == {
        "axis": {"grid": False, "labelAngle": 0}, "field": "at", "sort": words, "title": "degree", "type": "ordinal",
    }  # fmt: skip
    assert [point["at"] for point in drawn["data"]["values"]] == words + words


def test_curves_are_named_by_their_other_settings_and_by_the_model_where_there_are_several():
    swept = [
        row("COT", "m", 1.0, 0.0, 9.0, swept={"rows.degree": 1, "train.epochs": 3}),
        row("COT", "n", 1.0, 0.0, 9.0, swept={"rows.degree": 2}),
    ]
    labels = {"rows.degree": "degree", "train.epochs": "epochs"}
    drawn = shown(draw(table(*swept, labels=labels), Figure(over="rows.degree")))
    assert [point["curve"] for point in drawn["data"]["values"]] == ["COT (epochs=3), m", "COT, n"]


def test_a_study_has_both_curves_and_the_spread_of_each_arm():
    arms = [
        Arm("PaD", [(1, 2.0), (2, 1.5)], [(0, 3.0)], 7.5, outputs=8, distinct=6, spread=0.25, runnable=25.0),
        Arm("CoT", [(1, 4.0)], [], None, outputs=8, distinct=6, spread=0.5, runnable=None),
    ]
    drawn = shown(draw_study(arms, "Study"))
    colour = {"field": "arm", "legend": None, "scale": {"domain": ["PaD", "CoT"], "range": [BLUE, ORANGE]},
              "sort": ["PaD", "CoT"], "title": None, "type": "nominal"}  # fmt: skip

    def curve(what: str, *points: tuple) -> dict:
        return {
            "data": {"values": [{"arm": arm, "update": step, "loss": loss} for arm, step, loss in points]},
            "mark": {"type": "line", "point": True}, "width": 280, "height": 240,
            "encoding": {"color": colour, "x": quantity("update", title="Updates"), "y": quantity("loss", title=what)},
        }  # fmt: skip

    assert drawn == {
        "title": "Study",
        "config": {"view": {"continuousWidth": 300, "continuousHeight": 300}, "background": "white", "font": FONT,
                   "padding": 16},
        "hconcat": [
            curve("Training loss (nats per token)", ("PaD", 1, 2.0), ("PaD", 2, 1.5), ("CoT", 1, 4.0)),
            curve("Held-out loss (nats per token)", ("PaD", 0, 3.0)),
            {"data": {"values": [{"arm": "PaD", "spread": 0.25}, {"arm": "CoT", "spread": 0.5}]},
             "mark": {"type": "bar"}, "width": 280, "height": 240,
             "encoding": {
                 "color": colour, "x": quantity("spread", title="Spread of outputs (mean cosine distance)"),
                 "y": {"axis": {"labelLimit": 0}, "field": "arm", "sort": ["PaD", "CoT"], "title": None,
                       "type": "nominal"}}},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(("points", "marked"), [(100, True), (101, False)])
def test_a_curve_of_many_points_marks_none_of_them(points, marked):
    arm = Arm("PaD", [(step, 1.0) for step in range(points)], [], None, 8, 6, 0.25, None)
    curves, _ = shown(draw_study([arm], "Study"))["hconcat"]
    assert curves["mark"] == {"type": "line", "point": marked}
