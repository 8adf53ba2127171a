"""Calibration: what it does to each reviewer's scores, and what it can never do to a decision."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.review import AcceptanceRule
from distillery.peer_review.acceptance import decide
from distillery.peer_review.calibration import calibrated
from distillery.peer_review.records import HIGHEST, LOWEST, Decision, Review
from distillery.records import Completion

REVIEWERS = ["bert", "cleo", "dora"]
RELATIVE = ["rank", "z-score"]

scores = st.integers(LOWEST, HIGHEST)
panel = st.dictionaries(st.sampled_from(REVIEWERS), st.one_of(st.none(), scores), max_size=3)
exchanges = st.lists(panel, min_size=1, max_size=12).map(
    lambda given: {f"r{n}": scores for n, scores in enumerate(given)}
)
hows = st.sampled_from(RELATIVE)
rules = st.fixed_dictionaries(
    {
        "threshold": st.integers(10, 50).map(lambda tenths: tenths / 10),
        "aggregate": st.sampled_from(["mean", "median", "min"]),
        "strict": st.booleans(),
        "min_reviews": st.integers(1, 2),
    }
)


def valid(exchange):
    return {name: {who: score for who, score in of.items() if score is not None} for name, of in exchange.items()}


def decided(exchange, **rule):
    """Decisions on an exchange: rationale -> reviewer -> score, None for a reply without one."""
    rationales = [
        Completion(completion_id=name, qid=name, sampler="anna", sample_index=0, text="2 + 2 = 4", finish_reason="stop",
                   prompt_tokens=0, completion_tokens=0)
        for name in exchange
    ]  # fmt: skip
    reviews = [
        Review(qid=name, author="anna", reviewer=who, rationale_id=name, review_id=None, protocol="robust", score=score,
               path="", reason=None if score else "no score is stated")
        for name, of in exchange.items()
        for who, score in of.items()
    ]  # fmt: skip
    return decide(rationales, reviews, [], AcceptanceRule.model_validate(rule))[0]


def verdicts(made):
    return [(acceptance.decision, acceptance.aggregate) for acceptance in made]


@given(exchanges, hows)
def test_a_better_score_of_one_reviewer_stays_at_least_as_good(exchange, how):
    given_, found = valid(exchange), calibrated(valid(exchange), how)
    for who in REVIEWERS:
        pairs = sorted((of[who], found[name][who]) for name, of in given_.items() if who in of)
        for (score, value), (higher, better) in pairwise(pairs):
            assert value <= better and (score != higher or value == better)
            assert how != "rank" or score == higher or value < better, "ranks keep every difference"


@given(exchanges, hows)
def test_values_stay_on_the_scale_and_the_middle_is_what_a_reviewer_usually_gives(exchange, how):
    found = calibrated(valid(exchange), how)
    for who in REVIEWERS:
        own = [of[who] for of in found.values() if who in of]
        assert all(LOWEST <= value <= HIGHEST for value in own)
        assert how != "rank" or not own or sum(own) / len(own) == Fraction(3)


@given(exchanges, st.sampled_from(REVIEWERS), hows, rules, st.data())
def test_a_reviewer_that_is_kinder_by_a_constant_gets_nothing_else_accepted(exchange, who, how, rule, data):
    own = [of[who] for of in valid(exchange).values() if who in of]
    room = st.integers(LOWEST - min(own), HIGHEST - max(own)) if own else st.just(0)
    shift = data.draw(room, label="shift")
    shifted = {name: {w: s + shift if s and w == who else s for w, s in of.items()} for name, of in exchange.items()}
    assert verdicts(decided(shifted, calibration=how, **rule)) == verdicts(decided(exchange, calibration=how, **rule))


@given(exchanges, st.sampled_from(REVIEWERS), rules, st.permutations(range(LOWEST, HIGHEST + 1)), st.integers(1, 5))
def test_ranks_do_not_ask_how_far_scores_lie_apart(exchange, who, rule, shuffled, count):
    """A reviewer that uses other numbers in the same order: only what is above what matters."""
    used = sorted({of[who] for of in valid(exchange).values() if who in of})
    others = sorted(shuffled[: max(count, len(used))])
    name_of = dict(zip(used, others, strict=False))
    renamed = {name: {w: name_of[s] if s and w == who else s for w, s in of.items()} for name, of in exchange.items()}
    assert verdicts(decided(renamed, calibration="rank", **rule)) == verdicts(
        decided(exchange, calibration="rank", **rule)
    )


@given(exchanges, hows, rules)
def test_a_reply_without_a_score_never_gets_one(exchange, how, rule):
    raw, made = decided(exchange, **rule), decided(exchange, calibration=how, **rule)
    for before, after in zip(raw, made, strict=True):
        assert after.scores == before.scores == exchange[before.completion_id], "scores are kept as they were given"
        assert (after.aggregate is None) == (before.aggregate is None) == (not valid(exchange)[before.completion_id])
        assert (after.decision == Decision.UNDECIDED) == (before.decision == Decision.UNDECIDED)


@given(exchanges, rules)
def test_without_calibration_the_aggregate_is_that_of_the_scores_as_given(exchange, rule):
    scores_ = valid(exchange)
    assert calibrated(scores_, "none") is scores_
    for acceptance in decided(exchange, **{**rule, "aggregate": "mean"}):
        own = scores_[acceptance.completion_id].values()
        assert acceptance.aggregate == (float(Fraction(sum(own), len(own))) if own else None)


@given(st.lists(scores, min_size=2, max_size=8), scores, hows)
def test_a_reviewer_that_gives_all_the_same_has_no_say(given_, always, how):
    exchange = {f"r{n}": {"bert": score, "cleo": always} for n, score in enumerate(given_)}
    alone = {name: {"bert": of["bert"]} for name, of in exchange.items()}
    rule = {"calibration": how, "threshold": 3, "min_reviews": 1}
    assert [made.decision for made in decided(exchange, **rule)] == [made.decision for made in decided(alone, **rule)]


@given(exchanges, hows, st.integers(0, 3))
def test_a_new_reviewer_moves_nobody_elses_scores(exchange, how, score):
    more = {name: {**of, "zoe": (score + n) % 5 + 1} for n, (name, of) in enumerate(valid(exchange).items())}
    found = calibrated(more, how)
    without = {name: {who: value for who, value in of.items() if who != "zoe"} for name, of in found.items()}
    assert without == calibrated(valid(exchange), how)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("rank", {1: 1.5, 3: 2.5, 5: 4.0}), ("z-score", {1: 3 - 2.5 / 2.75**0.5, 3: 3 - 0.5 / 2.75**0.5, 5: 3.905})],
)
def test_a_scale_by_hand(how, expected):
    """Scores 1, 3, 5, 5: mean 3.5, variance 2.75."""
    exchange = {f"r{n}": {"bert": score} for n, score in enumerate([1, 3, 5, 5])}
    found = {of["bert"]: float(calibrated(exchange, how)[name]["bert"]) for name, of in exchange.items()}
    assert found == pytest.approx(expected, abs=1e-3)
