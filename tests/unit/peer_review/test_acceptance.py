"""Acceptance, pairs and faults: what reviewers can and cannot do to the training rows."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.committee_checks import routes
from distillery.config.prompt import Prompt
from distillery.config.review import AcceptanceRule
from distillery.errors import UserError
from distillery.peer_review.acceptance import decide, size_matched
from distillery.peer_review.assignments import assignments
from distillery.peer_review.records import Decision, Mistake, Review
from distillery.peer_review.scores import parse_score, review_of
from distillery.peer_review.training_pairs import pair_rows
from distillery.records import Completion, Verdict
from distillery.tasks.prompts import Renderer

ACCEPTED, REJECTED, UNDECIDED = Decision.ACCEPTED, Decision.REJECTED, Decision.UNDECIDED
REVIEWERS = ["bert", "cleo", "dora"]


def written(author="anna", qid="q1", text="2 + 2 = 4", finish_reason="stop"):
    return Completion(
        completion_id=f"{author}-{qid}", qid=qid, sampler=author, sample_index=0, text=text,
        finish_reason=finish_reason, prompt_tokens=0, completion_tokens=0,
    )  # fmt: skip


def reviewed(scores, author="anna", qid="q1", sample_index=0):
    """One review a reviewer; None is a reply without a score."""
    return [
        Review(
            qid=qid, author=author, reviewer=name, rationale_id=f"{author}-{qid}", review_id=None, protocol="robust",
            sample_index=sample_index, score=score, path="", reason=None if score else "no score is stated",
            expected=score and min(5.0, score + 0.25),
        )
        for name, score in scores.items()
    ]  # fmt: skip


def verdict(outcome, author="anna", qid="q1"):
    return Verdict(
        completion_id=f"{author}-{qid}",
        qid=qid,
        sample_index=0,
        grader="robust",
        outcome=outcome,
        answer=None,
        reason="",
    )


def decision(scores, outcome=None, **rule):
    rule = AcceptanceRule.model_validate({"min_reviews": 1, **rule})
    made, _ = decide([written()], reviewed(scores), [verdict(outcome)] if outcome else [], rule)
    return made[0].decision


panels = st.dictionaries(st.sampled_from(REVIEWERS), st.one_of(st.none(), st.integers(1, 5)), max_size=3)
aggregates = st.sampled_from(
    [{"aggregate": "mean"}, {"aggregate": "median"}, {"aggregate": "min"},
     {"aggregate": "weighted", "weights": {"bert": 0.1, "cleo": 0.7, "dora": 3}}]
)  # fmt: skip
thresholds = st.integers(0, 60).map(lambda tenths: tenths / 10)


@given(panels, aggregates, thresholds, thresholds, st.booleans())
def test_a_higher_threshold_accepts_nothing_more(scores, how, one, other, strict):
    lax, hard = sorted([one, other])
    if decision(scores, threshold=hard, strict=strict, **how) == ACCEPTED:
        assert decision(scores, threshold=lax, strict=strict, **how) == ACCEPTED


@given(panels.flatmap(lambda panel: st.tuples(st.just(panel), st.permutations(list(panel)))), aggregates, thresholds)
def test_the_order_of_the_reviewers_does_not_matter(given_, how, threshold):
    scores, order = given_
    rule = AcceptanceRule.model_validate({"threshold": threshold, **how})
    rationales = [written()]
    one = decide(rationales, reviewed(scores), [], rule)
    assert decide(rationales, reviewed({name: scores[name] for name in order}), [], rule) == one


@given(panels, aggregates, thresholds)
def test_strictness_matters_exactly_at_ties(scores, how, threshold):
    rule = AcceptanceRule.model_validate({"threshold": threshold, "min_reviews": 1, **how})
    (made,), _ = decide([written()], reviewed(scores), [], rule)
    differs = decision(scores, threshold=threshold, **how) != decision(scores, threshold=threshold, strict=False, **how)
    valid = {name: score for name, score in scores.items() if score}
    if not valid:
        assert (made.aggregate, made.decision, differs) == (None, UNDECIDED, False)
        return
    weights = {"bert": Fraction(1, 10), "cleo": Fraction(7, 10), "dora": Fraction(3)} if "weights" in how else {}
    number = sum(weights.get(n, 1) * Fraction(s) for n, s in valid.items()) / sum(weights.get(n, 1) for n in valid)
    if how["aggregate"] in ("mean", "weighted"):
        assert differs == (number == Fraction(str(threshold)))
        assert made.aggregate == float(number)
    else:
        assert differs == (made.aggregate == threshold)


def test_a_tie_between_thirds_and_tenths_is_no_accident_of_binary_numbers():
    assert decision(
        {"bert": 3, "cleo": 4}, threshold=3.3, aggregate="weighted", weights={"bert": 0.7, "cleo": 0.3}
    ) == (REJECTED)
    assert decision(
        {"bert": 3, "cleo": 4}, threshold=3.29, aggregate="weighted", weights={"bert": 0.7, "cleo": 0.3}
    ) == (ACCEPTED)


@pytest.mark.parametrize(
    ("scores", "rule", "expected"),
    [
        ({"bert": 5, "cleo": 1}, {}, REJECTED),  # a full split is a mean of 3
        ({"bert": 5, "cleo": 2}, {}, ACCEPTED),  # the public code's comment says 4, its rule accepts 3.5
        ({"bert": 5, "cleo": None}, {}, ACCEPTED),
        ({"bert": 5, "cleo": None}, {"min_reviews": 2}, UNDECIDED),
        ({"bert": None, "cleo": None}, {}, UNDECIDED),
        ({}, {}, UNDECIDED),
        ({"bert": 5, "cleo": 3}, {"aggregate": "min", "threshold": 3}, REJECTED),
        ({"bert": 5, "cleo": 3, "dora": 4}, {"aggregate": "median", "threshold": 3.9}, ACCEPTED),
        ({"bert": 4, "cleo": 4}, {"threshold": 4}, REJECTED),
        ({"bert": 4, "cleo": 4}, {"threshold": 4, "value": "expected"}, ACCEPTED),
    ],
)
def test_a_decision_by_hand(scores, rule, expected):
    assert decision(scores, **rule) == expected


@pytest.mark.parametrize(
    ("gate", "outcome", "expected"),
    [
        ("none", "wrong", ACCEPTED),
        ("not-wrong", "wrong", REJECTED),
        ("not-wrong", "unparsable", ACCEPTED),
        ("right", "unparsable", REJECTED),
        ("right", "right", ACCEPTED),
    ],
)
def test_the_gate_goes_before_the_reviewers(gate, outcome, expected):
    assert decision({"bert": 5, "cleo": 5}, outcome, gate=gate) == expected


@given(panels, st.sampled_from(["right", "wrong", "unparsable"]), st.sampled_from(["right", "not-wrong"]))
def test_reviewers_never_overrule_the_gate(scores, outcome, gate):
    if decision(scores, outcome, gate=gate) == ACCEPTED:
        assert decision({}, outcome, gate=gate, peers=False) == ACCEPTED


def test_without_peers_the_gate_decides_alone():
    assert decision({}, "right", peers=False, gate="right") == ACCEPTED
    assert decision({"bert": 1, "cleo": 1}, peers=False) == ACCEPTED


def test_repeats_of_a_review_do_not_decide():
    reviews = [*reviewed({"bert": 1, "cleo": 1}), *reviewed({"bert": 5, "cleo": 5}, sample_index=1)]
    (made,), _ = decide([written()], reviews, [], AcceptanceRule())
    assert (made.decision, made.scores) == (REJECTED, {"bert": 1, "cleo": 1})


@pytest.mark.parametrize(
    ("rationale", "reviews", "rule", "words"),
    [
        (written(), reviewed({"bert": 5}, qid="q2"), {}, "belongs to no rationale"),
        (
            written(),
            [reviewed({"bert": 5})[0].model_copy(update={"author": "zoe"})],
            {},
            "but the rationale is by anna",
        ),
        (written(), reviewed({"bert": 5}) * 2, {}, "two reviews"),
        (written(text="None", finish_reason="failed"), reviewed({"bert": 5}), {}, "empty rationale"),
        (written(), reviewed({"bert": 5}), {"aggregate": "weighted", "weights": {"cleo": 1.0}}, "has no weight"),
        (written(), [], {"gate": "right"}, "no verdict of the grader robust"),
    ],
)
def test_reviews_that_do_not_fit_are_refused(rationale, reviews, rule, words):
    with pytest.raises(UserError, match=words):
        decide([rationale], reviews, [], AcceptanceRule.model_validate(rule))


def test_a_null_rationale_is_rejected_without_a_review():
    (made,), counts = decide([written(text=" ")], [], [], AcceptanceRule())
    assert (made.decision, made.reason) == (REJECTED, "no rationale")
    assert counts["reasons"] == {"no rationale": 1}


@pytest.mark.parametrize(
    "rule", [{"aggregate": "weighted"}, {"weights": {"bert": 1.0}}, {"aggregate": "weighted", "weights": {"bert": 0.0}}]
)
def test_weights_and_weighted_go_together(rule):
    with pytest.raises(ValueError, match="weights"):
        AcceptanceRule.model_validate(rule)


# Faults

FAULTS = {
    "prose": "This is a fine rationale and I agree with all 5 of its 4 steps.",
    "a number off the scale": "The answer is [83].",
    "zero": "[0]",
    "ten of ten": "[10/10]",
    "a percentage": "Score: 5%",
    "a half point": "[4.5]",
    "a range": "Score: 4-5",
    "words": "[excellent]",
    "nothing": "",
    "white space": " \n ",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_reviewer_accepts_nothing(fault):
    """Through the whole way: routing, reply, record, decision."""
    rationales = [written("anna"), written("bert"), written("cleo")]
    todo, _ = assignments(rationales, routes({"anna": "x", "bert": "y", "cleo": "z"}))
    replies = [written(assignment.reviewer, assignment.qid, FAULTS[fault]) for assignment in todo]
    reviews = [review_of(assignment, reply, "robust") for assignment, reply in zip(todo, replies, strict=True)]
    assert all(review.score is None and review.reason for review in reviews)
    made, counts = decide(rationales, reviews, [], AcceptanceRule(threshold=0, min_reviews=1))
    assert {acceptance.decision for acceptance in made} == {UNDECIDED}
    assert counts["decisions"] == {"accepted": 0, "rejected": 0, "undecided": 3}


@given(st.lists(st.one_of(st.text(), st.sampled_from([*FAULTS.values(), "[5]", "3"])), min_size=2, max_size=2))
def test_an_accepted_rationale_has_scores_on_the_scale_alone(texts):
    todo, _ = assignments([written()], {"anna": ("bert", "cleo")})
    reviews = [
        review_of(assignment, written(assignment.reviewer, text=text), "paper")
        for assignment, text in zip(todo, texts, strict=True)
    ]
    (made,), _ = decide([written()], reviews, [], AcceptanceRule(min_reviews=1, threshold=0))
    valid = [score for score in made.scores.values() if score is not None]
    assert all(score in range(1, 6) for score in valid)
    assert (made.decision == ACCEPTED) == bool(valid)
    assert made.scores == {
        assignment.reviewer: parse_score(text, "paper").score for assignment, text in zip(todo, texts, strict=True)
    }


# Pairs

STUDENT = Renderer(Prompt(prompt="s", input="Q: {{ question }}\nA:", target=" {{ rationale }}", delimiter="-->"), [])
TEACHERS = ["anna", "bert", "cleo"]


def a_mistake(number):
    return Mistake(
        qid=f"q{number}", question=f"{number} + 1?", gold=str(number + 1), text="It is 9.", answer="9", kind="wrong",
        completion_id=None,
    )  # fmt: skip


def paired(feedback, rationales, accepted, mode="mixed", teacher=None, seed=1, count=4):
    """Rows of `count` mistakes; the others are sets of (teacher, question number)."""
    made, _ = decide(
        [written(name, f"q{n}") for name, n in rationales],
        [r for name, n in rationales for r in reviewed({"zoe": 5 if (name, n) in accepted else 1}, name, f"q{n}")],
        [],
        AcceptanceRule(min_reviews=1),
    )
    return pair_rows(
        [a_mistake(number) for number in range(count)],
        [written(name, f"q{n}", f" Look, {name}. ") for name, n in feedback],
        [written(name, f"q{n}", f" {name} thinks. --> 1") for name, n in rationales],
        made,
        mode=mode,
        teacher=teacher,
        feedback_input=lambda mistake: f"{mistake.question} {mistake.text} {mistake.gold}",
        student=STUDENT,
        seed=seed,
    )


cells = st.sets(st.tuples(st.sampled_from(TEACHERS), st.integers(0, 3)))


@given(cells, cells, cells, st.sampled_from(["mixed", "mixed-unreviewed", *TEACHERS]))
def test_every_mistake_is_a_pair_or_dropped_for_a_reason(feedback, rationales, accepted, mode):
    teacher = mode if mode in TEACHERS else None
    kind = "single" if teacher else mode
    usable = rationales & accepted if mode == "mixed" else rationales
    both = {
        n
        for n in range(4)
        if any((name, n) in feedback for name in TEACHERS if teacher in (None, name))
        and any((name, n) in usable for name in TEACHERS if teacher in (None, name))
    }
    if not both:
        with pytest.raises(UserError, match="no mistake has both"):
            paired(feedback, rationales, accepted, kind, teacher)
        return
    rows, summary = paired(feedback, rationales, accepted, kind, teacher)
    assert summary["mistakes"] == 4 == summary["pairs"] + sum(summary["dropped"].values())
    assert sorted((row.qid, row.source) for row in rows) == sorted(
        (f"q{n}", task) for n in both for task in ("feedback", "rationale")
    )
    for row in rows:
        author, number = row.completion_id.split("-q")
        assert (author, int(number)) in (feedback if row.source == "feedback" else usable)
        assert row.qid == f"q{number}" and teacher in (None, author)


EVERYTHING = {(name, number) for name in TEACHERS for number in range(4)}


def test_a_pair_says_what_each_task_shows_and_wants():
    rows, _ = paired({("anna", 0)}, {("bert", 0)}, {("bert", 0)}, count=1)
    assert [(row.source, row.prompt, row.target) for row in rows] == [
        ("feedback", "0 + 1? It is 9. 1", "Look, anna."),
        ("rationale", "Q: 0 + 1?\nA:", " bert thinks. --> 1"),
    ]


def test_the_seed_draws_and_other_mistakes_do_not():
    def draw(seed, count):
        rows, _ = paired(EVERYTHING, EVERYTHING, EVERYTHING, seed=seed, count=count)
        return {(row.qid, row.source): row.completion_id for row in rows}

    assert draw(1, 4) == draw(1, 4)
    assert draw(1, 2).items() < draw(1, 4).items()
    drawn = Counter(author for seed in range(60) for author in draw(seed, 4).values())
    assert len(drawn) == 12 and min(drawn.values()) > 20  # 480 draws of 12 texts


def test_a_draw_stays_while_its_candidate_does():
    """A stricter threshold changes only pairs that it deprives of their rationale."""
    lax = {
        row.qid: row.completion_id for row in paired(EVERYTHING, EVERYTHING, EVERYTHING)[0] if row.source == "rationale"
    }
    for author, number in EVERYTHING:
        rows, _ = paired(EVERYTHING, EVERYTHING, EVERYTHING - {(author, number)})
        for row in rows:
            if row.source == "rationale" and lax[row.qid] != f"{author}-q{number}":
                assert row.completion_id == lax[row.qid]


def test_mode_and_teacher_go_together():
    for mode, teacher in [("single", None), ("mixed", "anna")]:
        with pytest.raises(UserError, match="mode `single` needs a teacher"):
            paired(EVERYTHING, EVERYTHING, EVERYTHING, mode, teacher)


@given(st.integers(0, 9), st.integers(0, 4))
def test_a_random_drop_keeps_as_many_questions_and_fewer_are_part_of_more(seed, wanted):
    rationales = [written(name, f"q{n}") for n in range(4) for name in TEACHERS]
    everything, _ = decide(rationales, [], [], AcceptanceRule(peers=False))

    def kept(count):
        like = [acceptance for acceptance in everything if int(acceptance.qid[1:]) < count]
        made = size_matched(everything, like, seed)
        assert len(made) == len(everything)
        return {acceptance.qid for acceptance in made if acceptance.decision == ACCEPTED}

    assert len(kept(wanted)) == wanted
    assert kept(max(0, wanted - 1)) <= kept(wanted)


def test_a_random_drop_cannot_keep_more_than_there_is():
    everything, _ = decide([written(qid="q1"), written(qid="q2")], [], [], AcceptanceRule(peers=False))
    with pytest.raises(UserError, match="2 questions are wanted, but only 1"):
        size_matched(everything[:1], everything, 0)
