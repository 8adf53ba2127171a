"""A table pools its cells, keeps the experiment's order, and prints the same bytes for the same numbers."""

import csv
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.experiment import Experiment, Figure
from distillery.errors import UserError
from distillery.evaluation.intervals import wilson
from distillery.evaluation.score import summarise
from distillery.evaluation.table_formats import columns, to_frame, write_csv, write_html, write_markdown, write_parquet
from distillery.evaluation.table_records import Cell
from distillery.evaluation.tables import build_table, setting_labels
from distillery.files import read_json, write_json
from distillery.records import GradedPrediction, Outcome, Question, write_records

from ..imports import loaded

FIELDS = {"setup": "mini", "students": ["small"], "arms": [{"recipe": "cot"}]}


def experiment(**changes):
    return Experiment.model_validate(
        {"experiment": "mini", "title": "Mini", "tasks": ["coin", "sums"], **FIELDS, **changes}
    )


@pytest.fixture
def cell(tmp_path):
    """Make a cell of which `right` out of `asked` questions are right, and write its files."""

    def make(
        recipe="cot", *, right=6, asked=10, task="sums", model="small", seed=1, text="so 4 --> 4", costs=None, **rest
    ):
        folder = tmp_path / task / recipe / model / str(seed)
        graded = [
            GradedPrediction(
                qid=f"{task}-{number:03d}",
                question="2 + 2?",
                gold="4",
                text=text,
                answer_text=None,
                finish_reason="stop",
                completion_tokens=7,
                outcomes={
                    "robust": Outcome.RIGHT if number < right else Outcome.UNPARSABLE,
                    "paper": Outcome.RIGHT if number < right + 1 else Outcome.WRONG,
                },
                answers={"robust": "4", "paper": "4"},
            )
            for number in range(asked)
        ]
        write_records(folder / "graded.jsonl", graded)
        write_json(folder / "scores.json", summarise(graded, ["robust", "paper"]))
        write_json(folder / "costs.json", costs or {})
        names = {
            "task": task,
            "task_title": task.title(),
            "recipe": recipe,
            "arm_title": recipe.upper(),
            "model": model,
        }
        files = {
            "scores": folder / "scores.json",
            "predictions": folder / "graded.jsonl",
            "costs": [folder / "costs.json"],
        }
        return Cell.model_validate(names | files | {"seed": seed} | rest)

    return make


def written(table, folder):
    folder.mkdir(exist_ok=True)
    paths = [folder / f"table.{kind}" for kind in ("md", "csv", "html")]
    for write, path in zip((write_markdown, write_csv, write_html), paths, strict=True):
        write(table, path)
    return [path.read_text(encoding="utf-8") for path in paths]


def test_one_seed_has_wilsons_interval(cell):
    [row] = build_table(experiment(), [cell(right=6, asked=10)]).rows
    assert (row.accuracy, row.interval) == (60.0, tuple(round(end, 1) for end in wilson(6, 10)))
    assert (row.others, row.unparsable, row.questions, row.seeds) == ({"paper": 70.0}, 40.0, 10, (1,))


def test_seeds_are_pooled_into_one_row(cell):
    [row] = build_table(experiment(), [cell(right=8, seed=2), cell(right=4, seed=1)]).rows
    assert (row.accuracy, row.seeds, row.others) == (60.0, (1, 2), {"paper": 70.0})
    assert row.interval[0] < 40
    assert row.interval[1] > 80


def test_rows_stand_by_task_of_the_experiment_then_model_then_arm(cell):
    names = [("sums", "big", "b"), ("coin", "small", "b"), ("sums", "small", "a"), ("sums", "big", "a")]
    table = build_table(experiment(), [cell(recipe, task=task, model=model) for task, model, recipe in names])
    assert [(row.task, row.model, row.recipe) for row in table.rows] == [
        ("coin", "small", "b"), ("sums", "big", "b"), ("sums", "big", "a"), ("sums", "small", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("published", "verdict"), [(None, ""), (60.0, "inside"), (83.2, "inside"), (83.3, "outside"), (5.0, "outside")]
)
def test_a_published_number_is_inside_or_outside_the_printed_interval(cell, published, verdict):
    [row] = build_table(experiment(), [cell(right=6, asked=10, published=published)]).rows
    assert row.interval == (31.3, 83.2)
    assert row.verdict == verdict


def test_the_difference_to_the_baseline_has_a_sign_and_an_interval(cell):
    cells = [cell("base", right=40, asked=80), cell("good", right=60, asked=80), cell("bad", right=20, asked=80)]
    base, good, bad = build_table(experiment(baseline="base"), cells).rows
    assert base.difference is None
    assert base.difference_interval is None
    assert good.difference == 25.0
    assert 0 < good.difference_interval[0] < 25 < good.difference_interval[1]
    assert bad.difference == -25.0
    assert bad.difference_interval[1] < 0


def test_an_arm_on_a_model_without_the_baseline_is_not_compared(cell):
    rows = build_table(experiment(baseline="base"), [cell("base"), cell("other", model="large")]).rows
    assert [row.difference for row in rows] == [None, None]


def test_costs_are_averaged_and_a_seed_without_them_leaves_the_field_empty(cell):
    costs = {"training_rows": 100, "train_seconds": 10.0, "device": "cpu", "kept": 5}
    cells = [cell(seed=1, costs=costs), cell(seed=2, costs=costs | {"training_rows": 200, "train_seconds": None})]
    [row] = build_table(experiment(), cells).rows
    assert (row.training_rows, row.train_seconds, row.device, row.samples_used) == (150.0, None, "cpu", None)


def test_columns_that_are_empty_everywhere_are_not_printed(cell):
    bare = {column.heading for column in columns(build_table(experiment(), [cell()]))}
    assert not bare & {"Published", "Verdict", "Rows", "Train s", "Device"}
    full = {
        column.heading
        for column in columns(build_table(experiment(), [cell(published=50.0, costs={"training_rows": 3})]))
    }
    assert full - bare == {"Published", "Verdict", "Rows"}


def test_cells_that_contradict_each_other_are_refused(cell):
    with pytest.raises(UserError, match="two arms of the experiment are the same"):
        build_table(experiment(), [cell(), cell()])
    with pytest.raises(UserError, match=r"baseline = 'nobody'.*Name one of cot"):
        build_table(experiment(baseline="nobody"), [cell()])
    with pytest.raises(UserError, match=r"scores\.json: not scored by the grader strict"):
        build_table(experiment(grader="strict"), [cell()])
    with pytest.raises(UserError, match="qid sums-008: other test questions"):
        build_table(experiment(), [cell("a", asked=10), cell("b", asked=8)])
    with pytest.raises(UserError, match="two arms have the same title: a and b"):
        build_table(experiment(), [cell("a", arm_title="Same"), cell("b", arm_title="Same")])
    with pytest.raises(UserError, match="different published numbers"):
        build_table(experiment(), [cell(seed=1, published=1.0), cell(seed=2, published=2.0)])


def test_scores_that_do_not_belong_to_the_predictions_are_refused(cell):
    stale = cell(right=6)
    scores = read_json(stale.scores)
    scores["graders"]["robust"]["right"] = 7
    write_json(stale.scores, scores)
    with pytest.raises(UserError, match="7 of 10 right, but 6 of 10 in"):
        build_table(experiment(), [stale])


def test_equal_input_gives_equal_bytes(cell, tmp_path):
    cells = [cell(recipe, seed=seed, right=3 + seed) for recipe in ("base", "good") for seed in (1, 2)]
    first, second = (
        written(build_table(experiment(baseline="base"), given), tmp_path / name)
        for name, given in (("one", cells), ("two", [cells[1], cells[0], *cells[2:]]))
    )
    assert first == second


HOSTILE = "<script>alert('x')</script></pre></table><img src=x onerror=alert(1)> {{ 7 * 7 }} & | done"


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.words = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert not [name for name, value in attributes if name.startswith("on") or (value or "").startswith("http")]

    def handle_data(self, words):
        self.words.append(words)


def test_text_of_models_and_files_cannot_become_markup(cell, tmp_path):
    table = build_table(experiment(title=HOSTILE, caption=HOSTILE), [cell(text=HOSTILE, arm_title=HOSTILE)])
    markdown, _, html = written(table, tmp_path / "out")
    page = Tags()
    page.feed(html)
    assert "<script" not in html
    assert not {"script", "img", "link"} & set(page.tags)
    assert page.words.count(HOSTILE) >= 6  # title, heading, caption, arm, and what the student wrote
    assert "<script" not in markdown
    lines = [line.replace("\\|", "") for line in markdown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_the_sample_viewer_shows_the_first_right_and_the_first_other_answers(cell, tmp_path):
    table = build_table(experiment(), [cell(right=5, asked=10, text="x" * 5000)])
    assert [example.prediction.qid for example in table.rows[0].examples] == [f"sums-00{n}" for n in (0, 1, 2, 5, 6, 7)]
    html = written(table, tmp_path / "out")[2]
    assert html.count("Shown are 4000 of 5000 characters") == 6
    assert "x" * 4001 not in html


def test_csv_has_one_number_per_field(cell, tmp_path):
    table = build_table(experiment(baseline="base"), [cell("base"), cell("cot.degree=2", swept={"rows.degree": 2})])
    written(table, tmp_path / "out")
    base, swept = csv.DictReader((tmp_path / "out" / "table.csv").open())
    assert (base["accuracy"], base["accuracy_paper"], base["difference"], base["published"]) == ("60.0", "70.0", "", "")
    assert (swept["swept"], swept["difference_low"]) == ('{"rows.degree": 2}', "0.0")


def a_full_table(cell):
    """A row with a published number and costs, a row without, and two graders."""
    costs = {"training_rows": 96, "samples_used": 384, "steps": 60, "train_seconds": 12.34, "device": "cpu"}
    return build_table(
        experiment(baseline="base"),
        [
            cell("base", costs=costs, published=45.65, published_source="Table 1"),
            cell("cot", seed=1, right=5, swept={"rows.degree": 2}),
            cell("cot", seed=2, right=7, swept={"rows.degree": 2}),
        ],
    )


def test_csv_is_the_text_that_a_plain_csv_writer_makes_of_the_rows(cell, tmp_path):
    table = a_full_table(cell)
    with (tmp_path / "expected.csv").open("w", newline="", encoding="utf-8") as out:
        lines = csv.writer(out, lineterminator="\n")
        head = "task,model,recipe,arm,swept,accuracy,low,high,questions,seeds,unparsable,truncated,raised,rounds"
        head += ",difference,difference_low,difference_high,published,published_source,verdict,samples_used"
        head += ",training_rows,updates,train_seconds,device,accuracy_paper"
        lines.writerow(head.split(","))
        base, cot = table.rows
        lines.writerow(
            ["sums", "small", "base", "BASE", "", 60.0, *base.interval, 10, "1", 40.0, 0.0, "", "", "", "", "", 45.65,
             "Table 1", "inside", 384.0, 96.0, 60.0, 12.3, "cpu", 70.0]
        )  # fmt: skip
        lines.writerow(
            ["sums", "small", "cot", "COT (degree=2)", '{"rows.degree": 2}', 60.0, *cot.interval, 10, "1 2", 40.0, 0.0,
             "", "", 0.0, *cot.difference_interval, "", "", "", "", "", "", "", "", 70.0]
        )  # fmt: skip
    write_csv(table, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_parquet_holds_the_frame_with_its_types_and_nothing_that_varies(cell, tmp_path):
    import pandas as pd
    import pyarrow.parquet as pq

    table = a_full_table(cell)
    for name in ("one", "two"):
        write_parquet(table, tmp_path / f"{name}.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    frame = pd.read_parquet(tmp_path / "one.parquet", dtype_backend="numpy_nullable")
    pd.testing.assert_frame_equal(frame, to_frame(table))
    assert frame["questions"].dtype == "Int64" and frame["published"].tolist() == [45.65, pd.NA]
    assert pq.read_schema(tmp_path / "one.parquet").metadata is None


PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join), unique=True, max_size=6)


@given(PATHS)
def test_no_two_settings_share_a_label_and_no_label_is_longer_than_needed(paths):
    labels = setting_labels(paths)
    assert list(labels) == paths and len(set(labels.values())) == len(paths)
    for path, label in labels.items():
        assert f".{path}".endswith(f".{label}")
        shorter = label.partition(".")[2]
        assert not shorter or any(f".{other}".endswith(f".{shorter}") for other in paths if other != path)


def test_two_settings_with_one_last_key_are_told_apart_in_rows_and_curves(cell):
    from distillery.evaluation.figures import draw

    cells = [
        cell("cot.a", arm_title="COT", swept={"objective.alpha": 1, "train.epochs": 2}),
        cell("cot.b", arm_title="COT", swept={"train.lora.alpha": 1, "train.epochs": 2}),
    ]
    table = build_table(experiment(), cells)
    arms = ["COT (objective.alpha=1, epochs=2)", "COT (lora.alpha=1, epochs=2)"]
    assert [row.arm for row in table.rows] == arms
    chart = str(draw(table, Figure(over="train.epochs")).to_dict())
    assert "COT (objective.alpha=1)" in chart and "COT (lora.alpha=1)" in chart


def test_programs_that_were_rejected_or_raised_are_both_counted_as_raised(cell):
    made = cell(asked=8, right=1)
    scores = read_json(made.scores) | {"programs": True}
    scores["graders"]["robust"] |= {"unparsable": 4, "rejected": 1, "raised": 2}
    write_json(made.scores, scores)
    [row] = build_table(experiment(), [made]).rows
    assert (row.raised, row.unparsable) == (37.5, 50.0)


def test_accuracies_after_rounds_are_averaged_round_by_round_and_a_short_run_keeps_its_last(cell):
    cells = [cell(seed=1), cell(seed=2)]
    for made, rounds in zip(cells, ([10.0, 20.0, 60.0], [30.0, 50.0]), strict=True):
        write_json(made.scores, read_json(made.scores) | {"rounds": {"robust": rounds}})
    assert build_table(experiment(), cells).rows[0].rounds == (20.0, 35.0, 55.0)
    write_json(cells[1].scores, read_json(cells[1].scores) | {"rounds": {}})
    assert build_table(experiment(), cells).rows[0].rounds == ()


@pytest.mark.parametrize("beside", [False, True], ids=["one model in each arm", "an arm with two models"])
def test_bars_stand_around_the_label_of_their_arm(cell, tmp_path, beside):
    from distillery.evaluation.figures import draw, save_figure

    cells = [cell("few", model="large"), cell("fine", model="small"), cell("pad", model="small", right=9)]
    cells += [cell("fine", model="large")] if beside else []
    save_figure(draw(build_table(experiment(), cells), Figure()), tmp_path / "f.svg", tmp_path / "f.png")
    svg = (tmp_path / "f.svg").read_text(encoding="utf-8")
    labels = {arm: float(y) for y, arm in re.findall(r'translate\(-10,([\d.]+)\)"[^>]*>(FEW|FINE|PAD)<', svg)}
    bars = re.findall(
        r'aria-label="[^"]*arm: (FEW|FINE|PAD)[^"]*"[^>]*"bar"[^>]* d="M[\d.]+,([\d.]+)h[\d.]+v([\d.]+)', svg
    )
    assert len(bars) == len(cells) and len(labels) == 3
    for arm, label in labels.items():
        middles = [float(top) + float(height) / 2 for name, top, height in bars if name == arm]
        assert sum(middles) / len(middles) == pytest.approx(label - 3, abs=2)  # the text's baseline is below its middle


def test_figures_are_the_same_bytes_each_time_and_keep_the_order_of_the_arms(cell, tmp_path):
    from distillery.evaluation.figures import draw, save_figure

    arms = [cell("zeta", published=70.0), cell("alpha"), cell("mid", task="coin")]
    table = build_table(experiment(), arms)
    for name in ("one", "two"):
        save_figure(draw(table, Figure()), tmp_path / f"{name}.svg", tmp_path / f"{name}.png")
    svg = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert svg == (tmp_path / "two.svg").read_text(encoding="utf-8")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    labels = [svg.index(f">{arm}<") for arm in ("MID", "ZETA", "ALPHA")]
    assert labels == sorted(labels)
    assert ">published<" in svg


def test_a_figure_over_a_setting_needs_a_sweep_of_it(cell):
    from distillery.evaluation.figures import draw

    swept = [cell(f"cot.degree={degree}", arm_title="COT", swept={"rows.degree": degree}) for degree in (1, 2, 16)]
    table = build_table(experiment(), [*swept, cell("base")])
    assert draw(table, Figure(over="rows.degree")).to_dict()
    words = [cell(f"cot.kind={kind}", arm_title="COT", swept={"kind": [kind]}) for kind in ("b", "a")]
    assert draw(build_table(experiment(), words), Figure(over="kind")).to_dict()
    with pytest.raises(UserError, match=r"figure\.over = 'train\.epochs'.*Its arms sweep rows.degree"):
        draw(table, Figure(over="train.epochs"))


def test_building_a_table_loads_no_plotting_library():
    assert loaded("distillery.evaluation.table_formats", "pandas", "altair", "vl_convert") == []


@pytest.fixture
def questions(tmp_path):
    """Write the questions of a cell with ten of them: their golds, and the wordings 0, 2 and 3, four of each."""

    def make(golds, name="test"):
        records = [
            Question(
                qid=f"sums-{number:03d}",
                task="sums",
                question="2 + 2?",
                gold=gold,
                rationale=None,
                meta={"wording": [0, 2, 3][number // 4]},
            )
            for number, gold in enumerate(golds)
        ]
        write_records(tmp_path / f"{name}.jsonl", records)
        return tmp_path / f"{name}.jsonl"

    return make


def test_accuracy_on_a_part_counts_its_questions_only(cell, questions, tmp_path):
    """Ten questions, six right: 0 to 3 have wording 0, 4 to 7 wording 2, 8 and 9 wording 3."""
    asked = questions(["4"] * 10)
    parts = {"wording": {"seen": [0], "both": [2, 3]}}
    cells = [cell(right=6, seed=1, questions=asked), cell(right=8, seed=2, questions=asked)]
    [row] = build_table(experiment(parts=parts), cells).rows
    assert {title: (part.questions, part.accuracy) for title, part in row.parts.items()} == {
        "wording: seen": (4, 100.0),
        "wording: both": (6, 50.0),  # two and four of six
    }
    frame = to_frame(build_table(experiment(parts=parts), cells[:1]))
    assert frame["wording: both, accuracy"].tolist() == [33.3]
    assert frame["wording: both, low"].tolist() == [round(wilson(2, 6)[0], 1)]
    markdown, _, html = written(build_table(experiment(parts=parts), cells[:1]), tmp_path / "page")
    assert "| wording: both |" in markdown
    assert "33.3 [9.7, 70.0] of 6" in markdown  # Wilson, two of six
    assert "33.3 [9.7, 70.0] of 6" in html


def test_without_names_each_value_of_the_field_is_a_part(cell, questions):
    [row] = build_table(experiment(parts={"wording": {}}), [cell(questions=questions(["4"] * 10))]).rows
    assert {title: part.questions for title, part in row.parts.items()} == {
        "wording: 0": 4, "wording: 2": 4, "wording: 3": 2
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "key"), [({"steps": {}}, "parts"), ({"wording": {"none": [7], "all": [0]}}, "parts.wording.none")]
)
def test_a_part_without_questions_is_refused(cell, questions, parts, key):
    with pytest.raises(UserError) as refused:
        build_table(experiment(parts=parts), [cell(questions=questions(["4"] * 10))])
    assert refused.value.key == key


def test_the_majority_answer_is_that_of_the_train_questions(cell, questions, tmp_path):
    """Most train questions have the answer 5, which three of ten test questions have; most of these have 4."""
    test = questions(["4"] * 6 + ["5"] * 3 + ["1"])
    train = questions(["5"] * 6 + ["4"] * 3 + ["1"], "train")
    table = build_table(
        experiment(majority_answer=True, baseline="cot"), [cell(right=6, questions=test, train_questions=train)]
    )
    majority, cot = table.rows
    assert (majority.arm, majority.accuracy, majority.model) == ("Majority answer (5)", 30.0, "")
    assert (majority.difference, cot.difference, cot.accuracy) == (None, None, 60.0)
    from distillery.evaluation.figures import draw, save_figure

    svg = tmp_path / "figure.svg"
    save_figure(draw(table, Figure()), svg, tmp_path / "figure.png")
    assert "Majority" not in svg.read_text()
