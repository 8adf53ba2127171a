"""A table as its readers see it: page, fields for programs, and the classes of HTML, written out here."""

import re

from distillery.evaluation.table_formats import columns, write_csv, write_html, write_markdown
from distillery.evaluation.table_records import Example, PartScore
from distillery.records import GradedPrediction, Outcome

from .rows import row, table

FULL = table(
    row("Plain", "m", 40.0, 30.0, 50.0, seeds=(1, 2), truncated=1.5, others={"paper": 45.0}, training_rows=1234.0,
        samples_used=2000.5, updates=308.0, train_seconds=3.25, device="cpu", published=50.0),
    row("PaD", "m", 55.5, 50.1, 60.9, seeds=(3,), truncated=0.0, unparsable=2.0, raised=4.0, rounds=(50.0, 55.5),
        others={}, difference=15.5, difference_interval=(-1.0, 30.0), published=61.25, published_source="table 2",
        swept={"rows.degree": 2}),
    row("PaD", "n", 1.0, 0.0, 2.0, truncated=0.0, difference=-2.0, difference_interval=(-3.0, -1.0)),
    title="Mini & more", caption="All of it", other_graders=("paper",), baseline_title="Plain", notes=("a note",),
)  # fmt: skip
PAGE = """\
# Mini & more

All of it

| Task | Model | Arm | Accuracy [95 % interval] | Grader paper | Against Plain | Published | Verdict | Unparsable \
| Truncated | Raised | After rounds | Questions | Seeds | Samples | Rows | Updates | Train s | Device |
| --- | --- | --- | ---: | ---: | ---: | ---: | --- | ---: \
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
| Sums | m | Plain | 40.0 [30.0, 50.0] | 45.0 |  | 50 | inside | 0.0 \
| 1.5 |  |  | 10 | 2 | 2,000.5 | 1,234 | 308 | 3.2 | cpu |
| Sums | m | PaD | 55.5 [50.1, 60.9] |  | +15.5 [-1.0, +30.0] | 61.25 (table 2) | outside | 2.0 \
| 0.0 | 4.0 | 50.0 → 55.5 | 10 | 1 |  |  |  |  |  |
| Sums | n | PaD | 1.0 [0.0, 2.0] |  | -2.0 [-3.0, -1.0] |  |  | 0.0 \
| 0.0 |  |  | 10 | 1 |  |  |  |  |  |

* Accuracy [95 % interval]: percent of the test questions, grader robust, mean over seeds; the interval is Wilson's \
over questions for one seed, and a bootstrap over questions and seeds for several.
* Grader paper: accuracy in percent of the same answers under the grader paper.
* Against Plain: difference in points on the same questions, rounded last, with its paired 95 % bootstrap interval.
* Published: accuracy in percent as the paper prints it.
* Verdict: whether the published number lies inside or outside our interval.
* Unparsable: percent of questions without a final answer.
* Truncated: percent of completions cut off at the token limit.
* Raised: percent of questions whose program raised, ran out of time, or was not allowed to run.
* After rounds: accuracy after 0, 1, ... rounds of self-refinement; only failures that a user would see start a round.
* Questions: test questions, the same for all arms of a task.
* Seeds: training runs that are pooled.
* Samples: completions that training rows were chosen from.
* Rows: training rows, mean over seeds.
* Updates: updates of the training, mean over seeds.
* Train s: seconds of training, mean over seeds.
* Device: where the seconds were spent.
* Note: a note.
"""
FIELDS = """\
task,model,recipe,arm,swept,accuracy,low,high,questions,seeds,unparsable,truncated,raised,rounds,difference,\
difference_low,difference_high,published,published_source,verdict,samples_used,training_rows,updates,train_seconds,device,\
accuracy_paper
sums,m,plain,Plain,,40.0,30.0,50.0,10,1 2,0.0,1.5,,,,,,50.0,,inside,2000.5,1234.0,308.0,3.25,cpu,45.0
sums,m,pad,PaD,"{\"\"rows.degree\"\": 2}",55.5,50.1,60.9,10,3,2.0,0.0,4.0,50.0 55.5,15.5,-1.0,30.0,61.25,table 2\
,outside,,,,,,
sums,n,pad,PaD,,1.0,0.0,2.0,10,1,0.0,0.0,,,-2.0,-3.0,-1.0,,,,,,,,,
"""


def test_the_page_has_every_column_with_its_meaning(tmp_path):
    write_markdown(FULL, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == PAGE


def test_programs_get_every_field_with_all_its_digits(tmp_path):
    write_csv(FULL, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == FIELDS


def test_columns_that_are_empty_in_every_row_are_left_out():
    plain = table(row("Plain", "m", 40.0, 30.0, 50.0, truncated=0.0))
    assert [column.heading for column in columns(plain)] == [
        "Task", "Model", "Arm", "Accuracy [95 % interval]", "Unparsable", "Truncated", "Questions", "Seeds",
    ]  # fmt: skip


def test_fields_of_html_have_their_classes_and_blocks_of_a_model_begin_with_a_line(tmp_path):
    write_html(FULL, tmp_path / "table.html")
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    assert re.findall(r"<tr[^>]*>", body) == ["<tr>", "<tr>", '<tr class="start">']
    (first, second, _) = body.split("</tr>\n")[:3]
    assert [line for line in first.splitlines() if "<td" in line][:8] == [
        "<td>Sums</td>", "<td>m</td>", "<td>Plain</td>", '<td class="n main">40.0 [30.0, 50.0]</td>',
        '<td class="n">45.0</td>', '<td class="n"></td>', '<td class="n">50</td>', '<td class="inside">inside</td>',
    ]  # fmt: skip
    assert '<td class="outside">outside</td>' in second
    assert f"<title>{FULL.title}".replace("&", "&amp;") in page


def test_a_text_of_more_than_4000_characters_is_cut_on_the_page(tmp_path):
    def made(text: str) -> GradedPrediction:
        return GradedPrediction(
            qid="q", question="?", gold="4", text=text, answer_text=None, finish_reason="stop", completion_tokens=1,
            outcomes={"robust": Outcome.RIGHT}, answers={"robust": "4"},
        )  # fmt: skip

    examples = tuple(Example(made(text), Outcome.RIGHT, "4") for text in ("a" * 4000, "b" * 4001))
    write_html(table(row("Plain", "m", 40.0, 30.0, 50.0, examples=examples)), tmp_path / "table.html")
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert (page.count("a" * 4000), page.count("b" * 4000), page.count("b" * 4001)) == (1, 1, 0)
    assert page.count("Shown are 4000 of 4001 characters.") == page.count("Shown are") == 1


def test_parts_of_the_questions_are_a_table_of_their_own(tmp_path):
    parted = table(
        row("Plain", "m", 40.0, 30.0, 50.0, parts={"steps: 1": PartScore(4, 75.0, (30.1, 95.4))}),
        row("PaD", "m", 40.0, 30.0, 50.0, parts={}),
    )
    write_markdown(parted, tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text(encoding="utf-8").split("\n\n")[-1] == (
        "| Task | Model | Arm | steps: 1 |\n| --- | --- | --- | ---: |\n"
        "| Sums | m | Plain | 75.0 [30.1, 95.4] of 4 |\n| Sums | m | PaD |  |\n"
    )
    write_html(parted, tmp_path / "table.html")
    html = (tmp_path / "table.html").read_text(encoding="utf-8")
    assert html.count("<table>") == 2 and '<td class="n">75.0 [30.1, 95.4] of 4</td>' in html
    write_csv(parted, tmp_path / "table.csv")
    head, plain, pad = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert head.endswith('"steps: 1, accuracy","steps: 1, low","steps: 1, high","steps: 1, questions"')
    assert plain.endswith(",75.0,30.1,95.4,4.0") and pad.endswith(",,,,")
