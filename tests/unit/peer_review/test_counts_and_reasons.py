"""Records, counts and refusals of a peer review, written out: what was read where, and why something is left out."""

import pytest

from distillery.config.prompt import Prompt
from distillery.config.review import AcceptanceRule, StudentAnswers
from distillery.errors import UserError
from distillery.peer_review.acceptance import decide, size_matched, sweep_thresholds
from distillery.peer_review.ask import counts_of, hints_of
from distillery.peer_review.assignments import Assignment, assignments
from distillery.peer_review.mistakes import cut_at_answer, find_mistakes
from distillery.peer_review.records import Decision, Mistake, Review
from distillery.peer_review.scores import expected_score, parse_score, review_of
from distillery.peer_review.training_pairs import pair_rows
from distillery.records import Completion, Outcome, Question, Verdict
from distillery.tasks.prompts import Renderer

HOLDS = "it holds something else than one whole number"
NONE_THERE = "no whole number there"


def written(name: str, text: str = "2 + 2 = 4", finish: str = "stop", **changes) -> Completion:
    """The rationale `anna-q1` is of anna on q1."""
    author, qid = name.split("-")
    values = {
        "completion_id": name, "qid": qid, "sampler": author, "sample_index": 0, "text": text, "finish_reason": finish,
        "prompt_tokens": 3, "completion_tokens": 5,
    }  # fmt: skip
    return Completion.model_validate({**values, **changes})


def verdict(name: str, outcome: str, grader: str = "robust", answer: str | None = None) -> Verdict:
    return Verdict(completion_id=name, qid=name.split("-")[1], sample_index=0, grader=grader, outcome=outcome,
                   answer=answer, reason="")  # fmt: skip


def reviewed(name: str, **scores: float | None) -> list[Review]:
    author, qid = name.split("-")
    return [
        Review(qid=qid, author=author, reviewer=reviewer, rationale_id=name, review_id=None, protocol="robust",
               score=score, path="", reason="none" if score is None else None)
        for reviewer, score in scores.items()
    ]  # fmt: skip


def refusal(call, *given, **named) -> tuple:
    with pytest.raises(UserError) as caught:
        call(*given, **named)
    return caught.value.problem, caught.value.key, caught.value.value


# Scores


@pytest.mark.parametrize(
    ("reply", "paper", "robust"),
    [
        (None, (None, None, "empty reply", "the reviewer wrote nothing"), None),
        (" \n", (None, None, "empty reply", "the reviewer wrote nothing"), None),
        ("So [4].", (4, "4", "last number of the last bracket", None), (4, "4", "last bracket", None)),
        ("So [4/5].", (4, "4", "last bracket, before the slash", None), (4, "4", "last bracket", None)),
        ("So [4/10].", (4, "4", "last bracket, before the slash", None),
         (None, "4/10", "last bracket", "a score out of 10, not 5")),
        ("So [x/5].", (None, "x", "last bracket, before the slash", NONE_THERE),
         (None, "x/5", "last bracket", HOLDS)),
        ("So [].", (None, None, "last number of the last bracket", NONE_THERE), (None, "", "last bracket", HOLDS)),
        ("[2], no [3-4]", (4, "4", "last number of the last bracket", None), (None, "3-4", "last bracket", HOLDS)),
        ("[4] or [2], I think", (2, "2", "last number of the last bracket", None),
         (None, "2, 4", "last bracket", "several scores differ")),
        ("[4] or [2].*", (2, "2", "last number of the last bracket", None), (2, "2", "last bracket", None)),
        ("[4] and [4], I think", (4, "4", "last number of the last bracket", None), (4, "4", "last bracket", None)),
        ("[ 6 ]", (None, "6", "last number of the last bracket", "6 is outside 1 to 5"),
         (None, "6", "last bracket", "6 is outside 1 to 5")),
        ("[0]", (None, "0", "last number of the last bracket", "0 is outside 1 to 5"),
         (None, "0", "last bracket", "0 is outside 1 to 5")),
        ("[1]", (1, "1", "last number of the last bracket", None), (1, "1", "last bracket", None)),
        ("Score: 4", (4, "4", "last number of the reply", None), (4, "4", "whole reply", None)),
        ("I say score: 4. Well", (4, "4", "last number of the reply", None), (4, "4", "stated score", None)),
        ("grade is 4, rating of 3.", (3, "3", "last number of the reply", None),
         (None, "4, 3", "stated scores", "several scores differ")),
        ("grade = 4 and SCORE: 4 out of 5!", (5, "5", "last number of the reply", None),
         (4, "4", "stated score", None)),
        ("It is right.", (None, None, "last number of the reply", NONE_THERE),
         (None, None, "whole reply", "no score is stated")),
        ("1" * 19, (None, "1" * 19, "last number of the reply", NONE_THERE),
         (None, "1" * 18, "whole reply", NONE_THERE)),
        ("[4/" + "1" * 19 + "]", (4, "4", "last bracket, before the slash", None),
         (None, "4/" + "1" * 19, "last bracket", f"a score out of {'1' * 18}, not 5")),
    ],
)  # fmt: skip
def test_a_reply_gives_its_score_with_the_place_or_the_reason(reply, paper, robust):
    assert parse_score(reply, "paper") == paper
    assert parse_score(reply, "robust") == (robust or paper)


def test_a_review_has_the_names_of_all_and_no_expected_score_without_a_score():
    assignment = Assignment("q1", "anna", "bert", written("anna-q1"))
    reply = written("bert-q1", "[4]", sample_index=2, completion_id="reply")
    found = review_of(assignment, reply, "robust", expected=3.5)
    assert found.model_dump() == {
        "qid": "q1", "author": "anna", "reviewer": "bert", "rationale_id": "anna-q1", "review_id": "reply",
        "sample_index": 2, "protocol": "robust", "score": 4, "expected": 3.5, "raw": "4", "path": "last bracket",
        "reason": None,
    }  # fmt: skip
    off = review_of(assignment, written("bert-q1", "[6]"), "paper", expected=4.5)
    assert (off.score, off.expected, off.protocol) == (None, None, "paper")
    cut = review_of(assignment, written("bert-q1", "So [4]", "length"), "robust")
    assert (cut.score, cut.raw, cut.path, cut.reason) == (None, "4", "last bracket", "cut off at the token limit")
    lost = review_of(assignment, written("bert-q1", "", "failed"), "robust")
    assert (lost.raw, lost.path, lost.reason) == (None, "no reply", "the request failed")
    chosen = review_of(assignment, written("bert-q1", "", "failed", answer_text="5"), "robust")
    assert (chosen.score, chosen.path) == (5, "whole reply")


@pytest.mark.parametrize(
    ("probabilities", "mean"),
    [
        ({}, None), ({"x": 0.0}, None), ({"4": -1e9}, None), ({"4": float("-inf")}, None), ({"6": 0.0}, None),
        ({"4": -0.5}, 4.0), ({"4": -1.0, " 4": -1.0, "1": -1.0}, 3.0), ({"45": -1.0, "2": -3.0, "1": -3.0}, 1.5),
    ],
)  # fmt: skip
def test_an_expected_score_is_over_the_five_scores_alone(probabilities, mean):
    assert expected_score(probabilities) == (mean if mean is None else pytest.approx(mean))


# Acceptance


def one_decision(name="anna-q1", outcome=None, text="2 + 2 = 4", scores=None, **rule):
    reviews = reviewed(name, **(scores or {}))
    verdicts = [verdict(name, outcome), verdict(name, "right", "paper")] if outcome else []
    (made,), _ = decide([written(name, text)], reviews, verdicts, AcceptanceRule.model_validate(rule))
    return made


@pytest.mark.parametrize(
    ("given", "decision", "reason"),
    [
        ({"text": " "}, "rejected", "no rationale"),
        ({"outcome": "wrong", "gate": "right"}, "rejected", "answer not right"),
        ({"outcome": "wrong", "gate": "not-wrong"}, "rejected", "answer wrong"),
        ({"peers": False}, "accepted", "not reviewed"),
        ({"min_reviews": 1}, "undecided", "too few valid scores"),
        ({"scores": {"bert": 5}, "min_reviews": 2}, "undecided", "too few valid scores"),
        ({"scores": {"bert": 4}, "min_reviews": 1, "threshold": 3, "strict": True}, "accepted", "above the threshold"),
        ({"scores": {"bert": 3}, "min_reviews": 1, "threshold": 3, "strict": True}, "rejected",
         "not above the threshold"),
        ({"scores": {"bert": 3}, "min_reviews": 1, "threshold": 3, "strict": False}, "accepted",
         "at least the threshold"),
        ({"scores": {"bert": 2}, "min_reviews": 1, "threshold": 3, "strict": False}, "rejected",
         "below the threshold"),
    ],
)  # fmt: skip
def test_each_decision_has_its_reason(given, decision, reason):
    made = one_decision(**given)
    assert (made.decision, made.reason) == (decision, reason)


def test_a_decision_keeps_scores_aggregate_and_gate():
    made = one_decision(outcome="right", scores={"cleo": 4, "bert": None, "dora": 5}, gate="right", min_reviews=2)
    assert made.model_dump() == {
        "qid": "q1", "author": "anna", "completion_id": "anna-q1", "decision": Decision.ACCEPTED, "aggregate": 4.5,
        "scores": {"bert": None, "cleo": 4, "dora": 5}, "gate": Outcome.RIGHT, "reason": "above the threshold",
    }  # fmt: skip
    assert one_decision().gate is None and one_decision().aggregate is None and one_decision().scores == {}


SCORED = {"anna-q1": 5, "bert-q1": 4, "anna-q2": 2, "bert-q2": 3, "anna-q3": 1, "bert-q3": 1}
RULE = AcceptanceRule(threshold=3.0, strict=True, min_reviews=1)


def scored():
    rationales = [written(name) for name in SCORED]
    return rationales, [review for name, score in SCORED.items() for review in reviewed(name, zoe=score)]


def test_decisions_are_counted_by_reason_author_and_question():
    made, counts = decide(*scored(), [], RULE)
    assert [acceptance.completion_id for acceptance in made] == list(SCORED)
    assert counts == {
        "rationales": 6,
        "decisions": {"accepted": 2, "rejected": 4, "undecided": 0},
        "reasons": {"above the threshold": 2, "not above the threshold": 4},
        "authors": {
            "anna": {"accepted": 1, "rejected": 2, "undecided": 0},
            "bert": {"accepted": 1, "rejected": 2, "undecided": 0},
        },
        "questions": 3, "questions_with_accepted": 1, "accepted_per_question": {"0": 2, "2": 1},
    }  # fmt: skip


def test_each_threshold_has_its_counts_and_nothing_else_of_the_rule_moves():
    verdicts = [verdict(name, "right" if name in ("anna-q1", "anna-q3") else "wrong") for name in SCORED]
    verdicts += [verdict(name, "right", "paper") for name in SCORED]
    assert sweep_thresholds(*scored(), verdicts, RULE, (1.0, 3.0, 5.0)) == [
        {"threshold": 1.0, "accepted": 4, "questions": 2, "right": 1, "precision": 0.25, "recall": 0.5},
        {"threshold": 3.0, "accepted": 2, "questions": 1, "right": 1, "precision": 0.5, "recall": 0.5},
        {"threshold": 5.0, "accepted": 0, "questions": 0, "right": 0, "precision": None, "recall": 0.0},
    ]
    assert [row["threshold"] for row in sweep_thresholds(*scored(), [], RULE)] == [1, 2, 3, 3.5, 4, 4.5]
    assert sweep_thresholds(*scored(), [], RULE)[0]["recall"] is None


def test_reviews_that_do_not_fit_are_refused_with_their_reviewer_and_rationale():
    (review,) = reviewed("anna-q1", bert=4)
    for reviews, rationales, rule, problem in [
        ([review], [written("anna-q2")], {}, "a review belongs to no rationale"),
        ([review.model_copy(update={"author": "zoe"})], [written("anna-q1")], {},
         "a review of zoe on q1, but the rationale is by anna on q1"),
        ([review], [written("anna-q1", "")], {}, "a review belongs to an empty rationale"),
        ([review, review], [written("anna-q1")], {}, "two reviews of one rationale by one reviewer"),
        ([review], [written("anna-q1")], {"aggregate": "weighted", "weights": {"cleo": 1.0}},
         "a reviewer has no weight"),
    ]:  # fmt: skip
        rule = AcceptanceRule.model_validate(rule)
        assert refusal(decide, rationales, reviews, [], rule) == (problem, "review by bert", "anna-q1")
    assert refusal(decide, [written("anna-q1")], [review], [], AcceptanceRule(value="expected")) == (
        "a review has a score, but no expected score", "review of anna-q1 by bert", None,
    )  # fmt: skip
    assert refusal(decide, [written("anna-q1")], [], [], AcceptanceRule(gate="right")) == (
        "a rationale has no verdict of the grader robust, which the gate needs", "completion_id", "anna-q1",
    )  # fmt: skip


def test_a_random_drop_says_so_and_leaves_other_decisions():
    everything, _ = decide(*scored(), [], RULE.model_copy(update={"peers": False}))
    some, _ = decide(*scored(), [], RULE)
    found = size_matched(everything, some, seed=3)
    kept = {acceptance.qid for acceptance in found if acceptance.decision == Decision.ACCEPTED}
    assert len(kept) == 1 and all(
        acceptance.reason == ("not reviewed" if acceptance.qid in kept else "dropped at random") for acceptance in found
    )
    refused = [acceptance.model_copy(update={"decision": Decision.REJECTED}) for acceptance in everything]
    assert size_matched(refused, [], seed=3) == refused
    assert refusal(size_matched, some, everything, 3)[0] == "3 questions are wanted, but only 1 have a rationale"


# Mistakes, assignments, pairs


def question(qid: str, **changes) -> Question:
    return Question(qid=qid, task="t", question=f"{qid}?", gold="7", **changes)


def test_every_answer_of_the_student_is_counted_and_a_mistake_has_all_its_fields():
    outcomes = {"q1": "right", "q2": "wrong", "q3": "unparsable", "q4": "refused", "q5": "failed", "q6": "truncated"}
    answers = {"q2": "9"}
    completions = [written(f"small-{qid}", f"so 9 or {qid}, 9") for qid in outcomes]
    verdicts = [verdict(f"small-{qid}", outcome, answer=answers.get(qid)) for qid, outcome in outcomes.items()]
    verdicts += [verdict(f"small-{qid}", "right", "paper") for qid in outcomes]
    questions = [question(f"q{n}") for n in range(1, 9)]
    found, counts = find_mistakes(
        questions, completions[::-1], verdicts, StudentAnswers(cut="answer", unparsable="keep", truncated="drop")
    )
    assert [mistake.model_dump() for mistake in found] == [
        {"qid": "q2", "question": "q2?", "gold": "7", "text": "so 9", "answer": "9", "kind": "wrong",
         "completion_id": "small-q2"},
        {"qid": "q3", "question": "q3?", "gold": "7", "text": "so 9 or q3, 9", "answer": None, "kind": "unparsable",
         "completion_id": "small-q3"},
    ]  # fmt: skip
    assert counts == {
        "asked": 6, "right": 1, "mistakes": 2, "kinds": {"wrong": 1, "unparsable": 1}, "not_asked": 2,
        "not_used": {"failed": 1, "refused": 1, "truncated": 1},
    }  # fmt: skip
    limited, counts = find_mistakes(
        questions, completions, verdicts, StudentAnswers(unparsable="keep", truncated="drop", limit=1)
    )
    assert len(limited) == 1 and counts["not_used"]["over the limit"] == 1 and counts["mistakes"] == 1
    assert cut_at_answer("no answer", None) == "no answer" and cut_at_answer("a 2", "3") == "a 2"


def test_answers_of_the_student_that_do_not_fit_are_refused_with_their_question():
    answered, judged = written("small-q1"), verdict("small-q1", "right")
    for questions, completions, verdicts, problem in [
        ([question("q2")], [answered], [judged], "an answer of the student belongs to no train question"),
        ([question("q1")], [answered, answered], [judged], "the student has two answers to one question"),
        ([question("q1")], [answered], [], "an answer of the student has no verdict of the grader robust"),
    ]:
        assert refusal(find_mistakes, questions, completions, verdicts, StudentAnswers()) == (problem, "qid", "q1")


def test_reviews_are_assigned_in_a_stable_order_and_every_rationale_is_counted():
    routing = {"bert": ("zoe",), "anna": ("bert", "zoe")}
    rationales = [written("anna-q2"), written("anna-q1"), written("bert-q1"), written("bert-q2", ""),
                  written("anna-q1", sample_index=1, completion_id="second")]  # fmt: skip
    passed = {("q1", "anna-q1"), ("q1", "bert-q1"), ("q1", "second"), ("q2", "bert-q2")}
    todo, counts = assignments(rationales, routing, passed)
    assert [(found.qid, found.author, found.reviewer, found.rationale.completion_id) for found in todo] == [
        ("q1", "bert", "zoe", "bert-q1"),
        ("q1", "anna", "bert", "anna-q1"), ("q1", "anna", "zoe", "anna-q1"),
        ("q1", "anna", "bert", "second"), ("q1", "anna", "zoe", "second"),
    ]  # fmt: skip
    assert counts == {"rationales": 5, "reviewed": 3, "null": 1, "stopped": 1, "reviews": 5}
    assert assignments([], routing)[1] == dict.fromkeys(("rationales", "reviewed", "null", "stopped", "reviews"), 0)
    assert refusal(assignments, [written("carl-q1")], routing) == (
        "a rationale of an author who is not on the committee", "sampler", "carl",
    )  # fmt: skip


STUDENT = Prompt(prompt="s", input="Q: {{ question }}\nA:", target=" {{ rationale }} --> {{ answer }}", delimiter="-->")


def mistake(qid: str) -> Mistake:
    return Mistake(qid=qid, question=f"{qid}?", gold="7", text="9", answer="9", kind="wrong", completion_id=None)


def pairs(mode="mixed", teacher=None, feedback=("anna-q1", "bert-q2"), mistakes=("q2", "q1", "q3")):
    rationales = [written(name, f" {name} --> 1") for name in ("anna-q1", "bert-q1", "anna-q2")]
    made, _ = decide(rationales, reviewed("bert-q1", zoe=5), [], RULE)
    return pair_rows(
        [mistake(qid) for qid in mistakes], [written(name, f" look, {name} ") for name in feedback], rationales, made,
        mode=mode, teacher=teacher, feedback_input=lambda wrong: f"{wrong.question} {wrong.text}",
        student=Renderer(STUDENT, []), seed=1,
    )  # fmt: skip


def test_pairs_are_whole_records_with_counts_of_their_teachers():
    rows, summary = pairs()
    assert [row.model_dump() for row in rows] == [
        {"qid": "q1", "source": "feedback", "sample_index": 0, "completion_id": "anna-q1", "prompt": "q1? 9",
         "target": "look, anna-q1"},
        {"qid": "q1", "source": "rationale", "sample_index": 0, "completion_id": "bert-q1", "prompt": "Q: q1?\nA:",
         "target": " bert-q1 --> 7"},
    ]  # fmt: skip
    assert summary == {
        "mistakes": 3, "pairs": 1, "dropped": {"no accepted rationale": 1, "no feedback": 1},
        "teachers": {"feedback": {"anna": 1}, "rationale": {"bert": 1}},
    }  # fmt: skip
    assert pairs("mixed-unreviewed", feedback=("anna-q1", "bert-q2", "bert-q3"))[1]["dropped"] == {"no rationale": 1}


def test_what_gives_no_pair_is_refused_with_counts_and_mode():
    for given, counts, value in [
        ({"feedback": ()}, "3 no feedback", "mixed"),
        ({"mode": "single", "teacher": "carl"}, "3 no feedback", "single, carl"),
        ({"feedback": ("bert-q2",)}, "1 no accepted rationale, 2 no feedback", "mixed"),
        ({"mistakes": ()}, "no mistakes", "mixed"),
    ]:
        problem = f"no mistake has both feedback and a rationale ({counts})"
        assert refusal(pairs, **given) == (problem, "mode", value)
    needs = "mode `single` needs a teacher, and the other modes take none"
    assert refusal(pairs, "mixed", "anna") == (needs, "teacher", "anna")
    assert refusal(pairs, "single") == (needs, "teacher", None)


# Calls


def test_completions_are_counted_by_teacher():
    given = [written("bert-q1"), written("anna-q1", "", "failed"), written("anna-q2", "cut", "length")]
    assert counts_of(given) == {
        "anna": {"completions": 2, "null": 1, "cut_off": 1, "completion_tokens": 10},
        "bert": {"completions": 1, "null": 0, "cut_off": 0, "completion_tokens": 5},
    }
    assert list(counts_of(given)) == ["anna", "bert"]


def test_a_hint_is_the_answer_the_solution_or_nothing():
    questions = [question("q1", rationale="6 + 1"), question("q2")]
    assert hints_of("answer", [mistake("q1")], questions) == {"q1": "7"}
    assert hints_of("reference", [mistake("q1")], questions) == {"q1": "6 + 1", "q2": "7"}
    assert hints_of("none", [mistake("q1")], questions) == {}
