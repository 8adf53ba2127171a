"""Assignments and mistakes: who reviews whom, and which completions of the student are mistakes."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.committee_checks import routes
from distillery.config.review import StudentAnswers
from distillery.errors import UserError
from distillery.peer_review.assignments import assignments, read_assignments
from distillery.peer_review.mistakes import find_mistakes
from distillery.peer_review.records import Taught, TaughtVerdict
from distillery.records import Completion, Outcome, Question, Verdict, write_records

NAMES = ["anna", "bert", "cleo", "dora", "emil"]
panels = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["x", "y", "z"]), min_size=2)


def written(author, qid, text="because", finish_reason="stop", sample_index=0):
    return Completion(
        completion_id=f"{author}-{qid}-{sample_index}", qid=qid, sampler=author, sample_index=sample_index, text=text,
        finish_reason=finish_reason, prompt_tokens=0, completion_tokens=0,
    )  # fmt: skip


@given(panels)
def test_everyone_else_of_another_family_reviews_and_nobody_reviews_itself(panel):
    found = routes(panel, at_least=0)
    assert list(found) == list(panel)
    for author, reviewers in found.items():
        assert list(reviewers) == [name for name in panel if name != author and panel[name] != panel[author]]


@given(panels, st.integers(1, 4))
def test_too_few_reviewers_are_refused_before_any_call_and_by_name(panel, at_least):
    few = [a for a in panel if sum(panel[b] != panel[a] for b in panel) < at_least]
    if not few:
        assert all(len(reviewers) >= at_least for reviewers in routes(panel, at_least=at_least).values())
        return
    with pytest.raises(UserError) as told:
        routes(panel, at_least=at_least)
    assert all(f"reviewers of {author}" in str(told.value) for author in few)
    assert len(told.value.errors) == len(few)


def test_two_teachers_review_each_other():
    assert routes({"anna": "x", "bert": "y"}, at_least=1) == {"anna": ("bert",), "bert": ("anna",)}


def test_a_pair_of_one_family_reviews_only_where_it_is_allowed_by_name():
    panel = {"anna": "x", "bert": "x", "cleo": "y"}
    found = routes(panel, allow=[("bert", "anna")], at_least=1)
    assert found == {"anna": ("bert", "cleo"), "bert": ("cleo",), "cleo": ("anna", "bert")}


@pytest.mark.parametrize(
    ("pair", "words"), [(("anna", "anna"), "nobody may review itself"), (("zoe", "anna"), "no such reviewer")]
)
def test_an_allowed_pair_that_cannot_be_is_refused(pair, words):
    with pytest.raises(UserError, match=words):
        routes({"anna": "x", "bert": "x", "cleo": "y"}, allow=[pair], at_least=1)


def test_people_review_without_being_reviewed():
    found = routes({"anna": "x", "bert": "y"}, reviewers={"bert": "y", "anna": "x", "jo": "people"})
    assert found == {"anna": ("bert", "jo"), "bert": ("anna", "jo")}


@given(panels, st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.booleans()), unique_by=lambda t: t[:2]))
def test_every_rationale_goes_to_each_of_its_reviewers_once_and_a_null_one_to_none(panel, given_by):
    rationales = [written(a, f"q{n}", "because" if there else " ") for a, n, there in given_by if a in panel]
    routing = routes(panel, at_least=0)
    todo, counts = assignments(rationales, routing)
    expected = Counter((r.completion_id, b) for r in rationales if r.text.strip() for b in routing[r.sampler])
    assert Counter((assignment.rationale.completion_id, assignment.reviewer) for assignment in todo) == expected
    assert assignments(rationales[::-1], routing)[0] == todo
    assert counts["rationales"] == len(rationales) == counts["reviewed"] + counts["null"]
    assert counts["reviews"] == len(todo)


@given(
    panels,
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(0, 3), st.booleans(), st.booleans()),
        unique_by=lambda t: t[:2],
    ),
)
def test_an_answer_check_in_front_stops_the_reviews_of_the_others_and_changes_none(panel, given_by):
    kept = [given for given in given_by if given[0] in panel]
    rationales = [written(author, f"q{n}", "because" if there else " ") for author, n, there, _ in kept]
    passed = {(r.qid, r.completion_id) for r, given in zip(rationales, kept, strict=True) if given[3]}
    routing = routes(panel, at_least=0)
    todo, counts = assignments(rationales, routing, passed)
    everything, _ = assignments(rationales, routing)
    assert todo == [
        assignment for assignment in everything if (assignment.qid, assignment.rationale.completion_id) in passed
    ]
    assert counts["rationales"] == len(rationales) == counts["reviewed"] + counts["null"] + counts["stopped"]


def test_only_verdicts_of_the_gates_grader_let_a_rationale_through(tmp_path):
    good, bad = written("anna", "q1"), written("anna", "q2")
    write_records(
        tmp_path / "rationales.jsonl", [Taught.model_validate(rationale.model_dump()) for rationale in (good, bad)]
    )
    outcomes = [(good, "robust", Outcome.RIGHT), (good, "paper", Outcome.WRONG)]
    outcomes += [(bad, "robust", Outcome.WRONG), (bad, "paper", Outcome.RIGHT)]
    verdicts = [
        TaughtVerdict(
            completion_id=rationale.completion_id, qid=rationale.qid, sample_index=0, grader=grader, outcome=outcome,
            answer="1", reason="",
        )
        for rationale, grader, outcome in outcomes
    ]  # fmt: skip
    write_records(tmp_path / "verdicts.jsonl", verdicts)
    for grader, rationale in (("robust", good), ("paper", bad)):
        todo, counts = read_assignments(
            [tmp_path / "rationales.jsonl"], {"anna": ("bert", "cleo")}, tmp_path / "verdicts.jsonl", grader
        )
        assert {assigned.qid for assigned in todo} == {rationale.qid}
        assert (counts["reviews"], counts["stopped"]) == (2, 1)


@pytest.mark.parametrize("finish_reason", ["failed", "refused"])
def test_a_failed_call_is_not_sent_on_as_text(finish_reason):
    todo, counts = assignments([written("anna", "q", "None", finish_reason)], {"anna": ("bert", "cleo")})
    assert (todo, counts["null"]) == ([], 1)


def test_an_author_without_a_route_is_refused():
    with pytest.raises(UserError, match="zoe"):
        assignments([written("zoe", "q")], {"anna": ("bert",)})


# Mistakes

QUESTIONS = [Question(qid=f"q{n}", task="t", question=f"{n} + 1?", gold=str(n + 1)) for n in range(6)]


def an_answered_split(outcomes):
    """One completion a question, of the student; `outcomes` by the robust grader."""
    completions = [written("student", f"q{n}", f"It is 12, no, {n}.") for n in range(len(outcomes))]
    verdicts = [
        Verdict(
            completion_id=completion.completion_id, qid=completion.qid, sample_index=0, grader=grader, outcome=outcome,
            answer="12" if outcome in ("right", "wrong") else None, reason="",
        )
        for grader in ("robust", "paper")
        for completion, outcome in zip(completions, outcomes if grader == "robust" else ["right"] * 9, strict=False)
    ]  # fmt: skip
    return QUESTIONS, completions, verdicts


@given(
    st.lists(st.sampled_from([outcome.value for outcome in Outcome]), max_size=6),
    st.sampled_from(["keep", "drop"]),
    st.sampled_from(["keep", "drop"]),
)
def test_every_answer_of_the_student_is_right_or_a_mistake_or_not_used_for_a_reason(outcomes, unparsable, truncated):
    student_answers = StudentAnswers(unparsable=unparsable, truncated=truncated)
    mistakes, counts = find_mistakes(*an_answered_split(outcomes), student_answers)
    assert counts["asked"] == len(outcomes) == counts["right"] + counts["mistakes"] + sum(counts["not_used"].values())
    assert counts["not_asked"] == 6 - len(outcomes)
    assert sum(counts["kinds"].values()) == counts["mistakes"] == len(mistakes)
    assert counts["right"] == outcomes.count("right")
    used = {"wrong"}
    used |= {"unparsable", "rejected", "raised"} if unparsable == "keep" else set()
    used |= {"truncated"} if truncated == "keep" else set()
    assert [mistake.qid for mistake in mistakes] == [f"q{n}" for n, outcome in enumerate(outcomes) if outcome in used]


def test_a_limit_chooses_by_seed_among_all_mistakes_and_a_lower_limit_is_part_of_a_higher():
    split = an_answered_split(["wrong"] * 6)

    def chosen(limit, seed):
        mistakes, counts = find_mistakes(*split, StudentAnswers(limit=limit, seed=seed))
        assert counts["not_used"] == {"over the limit": 6 - limit} and counts["mistakes"] == limit
        return {mistake.qid for mistake in mistakes}

    for seed in range(20):
        assert chosen(2, seed) < chosen(4, seed)
    assert set.union(*(chosen(2, seed) for seed in range(20))) == {f"q{n}" for n in range(6)}


def test_parse_failures_are_counted_apart():
    mistakes, counts = find_mistakes(
        *an_answered_split(["wrong", "unparsable", "right"]), StudentAnswers(unparsable="keep")
    )
    assert counts["kinds"] == {"wrong": 1, "unparsable": 1}
    assert [(mistake.kind, mistake.answer) for mistake in mistakes] == [("wrong", "12"), ("unparsable", None)]


def test_the_published_cut_ends_at_the_first_occurrence_of_the_answer():
    for cut, text in {"none": "It is 12, no, 0.", "answer": "It is 12"}.items():
        (mistake,), _ = find_mistakes(*an_answered_split(["wrong"]), StudentAnswers(cut=cut))
        assert mistake.text == text


def test_student_answers_are_to_train_questions_with_one_completion_and_one_verdict_each():
    questions, completions, verdicts = an_answered_split(["wrong", "wrong"])
    for asked, given_, judged, words in [
        (questions[:1], completions, verdicts, "no train question"),
        (questions, completions + completions[:1], verdicts, "two answers"),
        (questions, completions, verdicts[:1], "no verdict of the grader robust"),
    ]:
        with pytest.raises(UserError, match=words):
            find_mistakes(asked, given_, judged, StudentAnswers())
