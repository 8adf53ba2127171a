"""Human reviewers, the audit, and the importer on a made-up exchange."""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.review import AcceptanceRule
from distillery.errors import UserError
from distillery.peer_review.acceptance import decide
from distillery.peer_review.assignments import assignments
from distillery.peer_review.audit import audit, weighted_kappa
from distillery.peer_review.audit_pages import audit_markdown, write_pages
from distillery.peer_review.human_sheets import read_sheet, write_sheet
from distillery.peer_review.records import Mistake, Review
from distillery.peer_review.released import mapd_exchange, mapd_mistakes
from distillery.records import Completion, Verdict, read_records, write_records

AUTHORS = ["anna", "bert"]


def written(author, qid, text='=1+1 is 2,\nso "2".'):
    return Completion(
        completion_id=f"{author}{qid}", qid=qid, sampler=author, sample_index=0, text=text, finish_reason="stop",
        prompt_tokens=0, completion_tokens=0,
    )  # fmt: skip


RATIONALES = [written(author, f"q{n}") for author in AUTHORS for n in range(3)]
MISTAKES = [
    Mistake(qid=f"q{n}", question=f"{n} + 1?", gold="7", text="9", answer="9", kind="wrong", completion_id=None)
    for n in range(3)
]
TODO, _ = assignments(RATIONALES, {"anna": ("bert", "jo"), "bert": ("anna", "jo")})


def filled(path, score, edit=lambda rows: rows, delimiter=","):
    """Write a sheet, fill it in as a spreadsheet would, and return it."""
    write_sheet(TODO, MISTAKES, path, reviewer="jo")
    if path.suffix == ".jsonl":
        rows = edit([{**json.loads(line), "score": score} for line in path.read_text().splitlines()])
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with open(path, newline="", encoding="utf-8") as lines:
        rows = edit([{**row, "score": score} for row in csv.DictReader(lines)])
    with open(path, "w", newline="", encoding="utf-8-sig") as out:
        lines = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
        lines.writeheader()
        lines.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.jsonl"])
def test_a_filled_sheet_gives_one_review_for_each_rationale(name, tmp_path):
    reviews = read_sheet(filled(tmp_path / name, "4"), TODO, reviewer="jo")
    assert [(r.qid, r.author, r.reviewer, r.score) for r in reviews] == [
        (assignment.qid, assignment.author, "jo", 4) for assignment in TODO if assignment.reviewer == "jo"
    ]
    write_records(tmp_path / "reviews.jsonl", reviews)
    assert sorted(read_records(tmp_path / "reviews.jsonl", Review), key=Review.sort_key) == sorted(
        reviews, key=Review.sort_key
    )


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_a_spreadsheet_makes_of_the_form_does_not_matter(delimiter, tmp_path):
    """Excel writes semicolons where the comma is the decimal sign, a byte order mark, and CRLF."""
    path = filled(tmp_path / "sheet.csv", " 5 ", delimiter=delimiter)
    assert [review.score for review in read_sheet(path, TODO, reviewer="jo")] == [5] * 6


def test_the_sheet_hides_the_author_and_computes_nothing(tmp_path):
    write_sheet(TODO, MISTAKES, tmp_path / "sheet.csv", reviewer="jo")
    with open(tmp_path / "sheet.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert set(rows[0]) == {"rationale_id", "question", "hint", "rationale", "score", "note"}
    assert all(row["rationale"].startswith("'=1+1") and row["score"] == "" and row["hint"] == "7" for row in rows)
    assert [row["rationale_id"] for row in rows] != [
        assignment.rationale.completion_id for assignment in TODO if assignment.reviewer == "jo"
    ]
    write_sheet(TODO, MISTAKES, tmp_path / "blind.jsonl", reviewer="jo", hint=False)
    assert all(json.loads(line)["hint"] == "" for line in (tmp_path / "blind.jsonl").read_text().splitlines())


def test_a_blank_score_is_a_review_without_a_score(tmp_path):
    reviews = read_sheet(filled(tmp_path / "sheet.csv", ""), TODO, reviewer="jo")
    assert {(review.score, review.reason) for review in reviews} == {(None, "left blank")}


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.jsonl"])
@pytest.mark.parametrize("score", ["0", "6", "83", "4.0", "4,5", "good", "-1", "4 5", "٤"])
def test_a_score_that_is_none_is_refused_and_never_clamped(name, score, tmp_path):
    with pytest.raises(UserError) as told:
        read_sheet(filled(tmp_path / name, score), TODO, reviewer="jo")
    assert len(told.value.errors) == 6
    line = 2 if name.endswith("csv") else 1
    assert f"{tmp_path / name}: line {line}, score = {score!r}: not a whole number from 1 to 5. Write" in str(
        told.value
    )


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    """A rationale of two lines takes two."""

    def spoil_the_third(rows):
        rows[2]["score"] = "x"
        return rows

    with pytest.raises(UserError, match=r"line 6, score = 'x'"):
        read_sheet(filled(tmp_path / "sheet.csv", "3", spoil_the_third), TODO, reviewer="jo")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda rows: rows[1:], "lacks a rationale"),
        (lambda rows: [*rows, rows[0]], "this rationale has two rows"),
        (lambda rows: [{**rows[0], "rationale_id": "zoe"}, *rows], "'zoe': not a rationale of this reviewer's sheet"),
        (lambda rows: [{k: v for k, v in row.items() if k != "score"} for row in rows], "the header lacks score"),
    ],
)
def test_rows_that_do_not_fit_are_refused(edit, words, tmp_path):
    with pytest.raises(UserError, match=words):
        read_sheet(filled(tmp_path / "sheet.csv", "3", edit), TODO, reviewer="jo")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("sheet.csv", b"\xff\xfe\x00", "not a UTF-8 text"),
        ("sheet.jsonl", b"{]", "sheet.jsonl:1: not valid JSON"),
        ("sheet.jsonl", b"[1]", "not a JSON object"),
        ("sheet.jsonl", b'{"score": 3}', "the row lacks rationale_id"),
        ("sheet.csv", b'rationale_id,score\n"x', "sheet.csv:2: the double quote that opens"),
        ("sheet.xlsx", b"", "a sheet is .csv or .jsonl"),
    ],
)
def test_a_file_that_is_no_sheet_is_refused(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_sheet(tmp_path / name, TODO, reviewer="jo")


def test_a_reviewer_without_a_task_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"reviewer = 'zoe'.*anna, bert, jo"):
        read_sheet(filled(tmp_path / "sheet.csv", "3"), TODO, reviewer="zoe")


# The audit


def a_review(author, qid, reviewer, score, sample_index=0):
    return Review(
        qid=qid, author=author, reviewer=reviewer, rationale_id=f"{author}{qid}", review_id=None, protocol="paper",
        path="", score=score, reason=None if score else "no score is stated", sample_index=sample_index,
    )  # fmt: skip


def an_audit():
    """anna is right on q0 only, bert always; jo is lenient, kim is exact and once silent."""
    right = {"annaq0", "bertq0", "bertq1", "bertq2"}
    reviews = []
    for rationale in RATIONALES:
        good = rationale.completion_id in right
        reviews += [
            a_review(rationale.sampler, rationale.qid, "jo", 5),
            a_review(rationale.sampler, rationale.qid, "kim", 5 if good else 1),
        ]
    reviews[-1] = a_review("bert", "q2", "kim", None)
    reviews += [a_review("anna", "q0", "kim", 5, 1), a_review("anna", "q1", "kim", 2, 1)]
    verdicts = [
        Verdict(
            completion_id=rationale.completion_id, qid=rationale.qid, sample_index=0, grader="robust",
            outcome="right" if rationale.completion_id in right else "wrong", answer=None, reason="",
        )
        for rationale in RATIONALES
    ]  # fmt: skip
    made, _ = decide(RATIONALES, reviews, verdicts, AcceptanceRule(min_reviews=1))
    return audit(RATIONALES, reviews, made, verdicts, grader="robust")


def test_a_lenient_reviewer_is_flagged_and_an_exact_one_is_not():
    reviewers = an_audit()["reviewers"]
    assert (reviewers["jo"]["lenient"], reviewers["jo"]["false_accept_rate"], reviewers["jo"]["mean"]) == (
        True,
        1.0,
        5.0,
    )
    assert (reviewers["kim"]["lenient"], reviewers["kim"]["accuracy"]) == (False, 1.0)
    assert reviewers["kim"]["histogram"] == {"1": 2, "2": 0, "3": 0, "4": 0, "5": 3}
    assert reviewers["kim"]["repeats"] == {"reviews": 2, "equal": 1}


def test_the_counts_of_the_audit_add_up():
    figures = an_audit()
    assert figures["reviews"] == {"slots": 12, "valid": 11, "invalid": {"no score is stated": 1}}
    assert figures["agreement"] == {"rationales": 5, "equal": 3, "maximum_split": 2}
    acceptance = figures["acceptance"]
    assert (
        sum(count for row in acceptance["confusion"].values() for count in row.values()) == 6 == acceptance["checked"]
    )
    assert (acceptance["precision"], acceptance["recall"]) == (1.0, 1.0)
    assert {name: row["share_accepted"] for name, row in figures["authors"].items()} == {"anna": 1 / 3, "bert": 1.0}


def test_kappa_is_one_for_agreement_less_for_chance_and_nothing_where_undefined():
    assert weighted_kappa({(1, 1): 3, (5, 5): 2}) == pytest.approx(1)
    assert weighted_kappa({(1, 1): 1, (1, 5): 1, (5, 1): 1, (5, 5): 1}) == pytest.approx(0)
    assert 0 < weighted_kappa({(1, 1): 2, (2, 5): 2}) < weighted_kappa({(1, 1): 2, (4, 5): 2}) < 1
    assert weighted_kappa({}) is None
    assert weighted_kappa({(5, 5): 9}) is None


def test_the_page_has_every_reviewer_and_author_and_no_name_ends_a_cell(tmp_path):
    figures = an_audit()
    figures["authors"]["<b>|"] = figures["authors"].pop("anna")
    figures["thresholds"] = [dict.fromkeys(("threshold", "accepted", "questions", "right", "precision", "recall"), 1.0)]
    write_pages(figures, tmp_path / "audit.md", tmp_path / "audit.html", title="Peer | review", note="<i>new</i>")
    page = (tmp_path / "audit.md").read_text()
    assert page.startswith(audit_markdown(figures, "Peer | review"))
    assert "| jo | 6 | 6 | 0 | 0 | 0 | 0 | 6 | 5.000 | 0.667 | 1.000 |  | lenient |" in page
    assert "&lt;b>\\|" in page and "Peer \\| review" in page
    html = (tmp_path / "audit.html").read_text()
    assert '<tr class="lenient"><td>jo</td>' in html and '<tr class="lenient"><td>kim</td>' not in html
    assert "<td>&lt;b&gt;|</td>" in html and "&lt;i&gt;new" in html and "<i>" not in html


def test_without_an_answer_check_its_figures_are_empty():
    reviews = [a_review("anna", "q0", "jo", 5)]
    made, _ = decide(RATIONALES[:1], reviews, [], AcceptanceRule(min_reviews=1))
    figures = audit(RATIONALES[:1], reviews, made, [], grader="robust")
    assert figures["reviewers"]["jo"]["accuracy"] is None and figures["acceptance"]["precision"] is None
    assert "not checked" in audit_markdown(figures)


# The importer, on an exchange of the released form


def an_exchange(folder, edit=lambda kind, rows: rows):
    base = [
        {"id": number, "question": f"{number} + 1?", "gold_answer": str(number + 1), "student_wrong_pred": "It is 9",
         "student_wrong_final_answer": "9" if number else "ABSOLUTE_WRONG_FINAL_ANS"}
        for number in (0, 7)
    ]  # fmt: skip
    names = ["gpt", "gemini", "mistral"]
    files = {
        "false": base,
        "feedback": [{**row, **{f"{name}_feedback": f"{name} says" for name in names}} for row in base],
        "rationale": [
            {
                **row,
                **{f"{name}_rationale": [f"{name} thinks", 5, 83] for name in names},
                "correct_rationale": ["gpt thinks"],
            }
            for row in base[::-1]
        ],
    }
    for kind, rows in files.items():
        (folder / f"tiny_{kind}_round0.json").write_text(json.dumps(edit(kind, json.loads(json.dumps(rows)))))
    return folder


def test_files_are_joined_by_id_and_scores_are_kept_as_released(tmp_path):
    found = mapd_exchange(an_exchange(tmp_path), "tiny", stem="tiny", checked=False)
    assert [mistake.qid for mistake in found.mistakes] == ["tiny-train-00000", "tiny-train-00007"]
    assert [mistake.kind for mistake in found.mistakes] == ["unparsable", "wrong"]
    assert [(rationale.sampler, rationale.qid[-1]) for rationale in found.rationales[:4]] == [
        ("gpt", "0"), ("gemini", "0"), ("mistral", "0"), ("gpt", "7"),
    ]  # fmt: skip
    assert [(r.author, r.reviewer, r.score, r.raw) for r in found.reviews[:4]] == [
        ("gpt", "gemini", 5, "5"), ("gpt", "mistral", None, "83"),
        ("gemini", "gpt", 5, "5"), ("gemini", "mistral", None, "83"),
    ]  # fmt: skip
    assert len(found.accepted) == 2


def test_a_released_null_is_a_failed_call_that_nobody_reviewed(tmp_path):
    def nothing(kind, rows):
        if kind == "rationale":
            rows[0]["gpt_rationale"][0] = None
        return rows

    found = mapd_exchange(an_exchange(tmp_path, nothing), "tiny", stem="tiny", checked=False)
    (null,) = [rationale for rationale in found.rationales if rationale.finish_reason == "failed"]
    assert null.text == ""
    assert null.completion_id not in {review.rationale_id for review in found.reviews}


def without(kind, key):
    return lambda given, rows: [{k: v for k, v in row.items() if k != key} for row in rows] if given == kind else rows


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (without("false", "gold_answer"), r"row 0: there is no gold_answer\. Say in `keys`"),
        (lambda kind, rows: rows * 2 if kind == "false" else rows, "two rows have this id"),
        (lambda kind, rows: rows[1:] if kind == "feedback" else rows, "id 0: the files hold different mistakes"),
        (lambda kind, rows: {} if kind == "rationale" else rows, "not a JSON array"),
        (
            lambda kind, rows: [{**row, "gpt_rationale": ["t", 5]} for row in rows] if kind == "rationale" else rows,
            "id 0, gpt_rationale.*1 scores",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(edit, words, tmp_path):
    with pytest.raises(UserError, match=words):
        mapd_exchange(an_exchange(tmp_path, edit), "tiny", stem="tiny", checked=False)


def test_questions_of_another_split_are_refused(tmp_path):
    path = an_exchange(tmp_path) / "tiny_false_round0.json"
    questions, _ = mapd_mistakes(path, "tiny", checked=False)
    assert mapd_mistakes(path, "tiny", questions, checked=False)[0] == questions
    moved = [questions[0], questions[1].model_copy(update={"question": "another"})]
    with pytest.raises(UserError, match=r"id 7 = '7 \+ 1\?'.*not that of the task"):
        mapd_mistakes(path, "tiny", moved, checked=False)


def test_a_file_without_a_known_checksum_is_refused_unless_read_unchecked(tmp_path):
    with pytest.raises(UserError, match="no checksum is known"):
        mapd_mistakes(an_exchange(tmp_path) / "tiny_false_round0.json", "tiny")


# Sheets of any text, and what spreadsheets and people make of them

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)  # a blank text gets no review


def sheet_of(text: str):
    rationales = [written("anna", "q0", text), written("bert", "q0", "An other one.")]
    todo, _ = assignments(rationales, {"anna": ("jo",), "bert": ("jo",)})
    return todo, [Mistake(qid="q0", question=text, gold=text, text="9", answer="9", kind="wrong", completion_id=None)]


@pytest.mark.reliability("data-file", cases=100)
@given(TEXTS, st.sampled_from(["sheet.csv", "sheet.jsonl"]))
def test_a_sheet_of_any_text_is_read_again(tmp_path_factory, text, name):
    path = tmp_path_factory.getbasetemp() / name
    todo, mistakes = sheet_of(text)
    assert write_sheet(todo, mistakes, path, reviewer="jo") == 2
    assert [review.reason for review in read_sheet(path, todo, reviewer="jo")] == ["left blank"] * 2


@pytest.mark.reliability("data-file", cases=100)
@given(st.binary(max_size=60) | st.text('rationale_id,score;"\n\r\t1annaq0', max_size=80).map(str.encode))
def test_a_sheet_of_any_bytes_is_read_or_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"odd\.csv"):  # it lacks rationales at least
        read_sheet(path, TODO, reviewer="jo")


LONG = "First she buys three pens, then she pays with a ten."


@pytest.mark.reliability("data-file")
def test_scores_of_a_column_that_was_sorted_alone_are_refused(tmp_path):
    rationales = [written("anna", f"q{n}", f"{LONG} Then {word} more pens.") for n, word in enumerate(["two", "six"])]
    todo, _ = assignments(rationales, {"anna": ("jo",)})
    write_sheet(todo, MISTAKES, tmp_path / "sheet.csv", reviewer="jo")
    with open(tmp_path / "sheet.csv", newline="") as lines:
        header, one, other = csv.reader(lines)
    one[0], other[0] = other[0], one[0]
    with open(tmp_path / "sheet.csv", "w", newline="") as out:
        csv.writer(out).writerows([header, one, other])
    with pytest.raises(UserError, match="the rationale of this row is another text"):
        read_sheet(tmp_path / "sheet.csv", todo, reviewer="jo")


def excel(rows: list[list[str]]) -> str:
    """A byte order mark, semicolons, CRLF, and no fields behind the last filled column of some rows."""
    return "\ufeff" + "".join(";".join(row).rstrip(";") + "\r\n" for row in rows) + ";;;;;\r\n"


@pytest.mark.reliability("data-file")
def test_rows_without_their_empty_last_fields_are_whole(tmp_path):
    ids = [assignment.rationale.completion_id for assignment in TODO if assignment.reviewer == "jo"]
    rows = [["rationale_id", "question", "hint", "rationale", "score", "note"]]
    scores = ["4", "", "5", "", "1", "2"]
    rows += [[name, "1 + 1?", "2", "It is.", score, ""] for name, score in zip(ids, scores, strict=True)]
    (tmp_path / "sheet.csv").write_text(excel(rows), encoding="utf-8", newline="")
    reviews = read_sheet(tmp_path / "sheet.csv", TODO, reviewer="jo")
    assert [review.score for review in reviews] == [4, None, 5, None, 1, 2]


@pytest.mark.reliability("data-file")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("sheet.csv", b"rationale_id,score,score\nannaq0,1,2\n", "sheet.csv:1 = 'score': two columns have this name"),
        ("sheet.jsonl", b'{"rationale_id": "annaq0", "score": 1, "score": 2}', "the key 'score' is given twice"),
        ("sheet.csv", "rationale_id,score,note\nannaq0,1,für\n".encode("cp1252"), "sheet.csv:2: not a UTF-8 text"),
        ("sheet.csv", "rationale_id\tscore\n".encode("utf-16"), "it is UTF-16"),
        ("sheet.csv", b"PK\x03\x04", "spreadsheets of Excel"),
        ("sheet.csv", b"rationale_id,score\nannaq0,1,2\n", "sheet.csv:2: the row has 3 fields"),
        ("sheet.csv", b"rationale_id,score,\nannaq0,1,a remark\n", "sheet.csv:2: the row has 3 fields"),
        ("sheet.csv", b"", "sheet.csv:1: no header"),
        ("sheet.jsonl", b'{"rationale_id": "annaq0", "score": NaN}', "NaN is no number"),
        ("sheet.jsonl", b'{"rationale_id": "annaq0", "score": [4]}', r"score = '\[4\]': not a whole number"),
        ("sheet.jsonl", b'{"rationale_id": {}, "score": true}', "not a rationale of this reviewer's sheet"),
    ],
)
def test_a_sheet_that_people_or_programs_changed_is_refused_by_its_line(name, content, words, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_sheet(tmp_path / name, TODO, reviewer="jo")
