"""Scoring joins by question id, counts every verdict, and says how sure the accuracy is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.errors import UserError
from distillery.evaluation.intervals import difference_interval, pooled_interval, wilson
from distillery.evaluation.score import score, score_rounds, summarise
from distillery.records import Completion, Draft, Outcome, Question
from distillery.verification import judge as judging
from distillery.verification.graders import DEFAULT_GRADERS, Graded
from distillery.verification.judge import Reading

from ..imports import loaded

READING = Reading(delimiter="-->")
GRADERS = DEFAULT_GRADERS["number"]


def question(number, gold="4"):
    return Question(qid=f"q{number:03d}", task="arithmetic", question="What is 2 + 2?", gold=gold)


def completion(number, text="2 + 2 = 4 --> 4", finish_reason="stop", tokens=10, sample_index=0):
    return Completion(
        completion_id=f"c{number}-{sample_index}",
        qid=f"q{number:03d}",
        sampler="student",
        sample_index=sample_index,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=5,
        completion_tokens=tokens,
    )


@given(outcomes=st.lists(st.sampled_from(list(Outcome)), min_size=1, max_size=40))
def test_the_outcomes_add_up_to_the_questions_asked(outcomes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "grade", lambda text, *_: Graded(Outcome(text), None, "chosen by the test"))
        predictions = [completion(number, text=outcome.value) for number, outcome in enumerate(outcomes)]
        _, summary, _ = score(predictions, [question(number) for number in range(len(outcomes))], GRADERS, READING)
    assert summary["graders"].keys() == GRADERS.keys()
    for counts in summary["graders"].values():
        assert sum(counts[outcome.value] for outcome in Outcome) == counts["asked"] == len(outcomes)
        assert counts["accuracy"] == pytest.approx(100 * outcomes.count(Outcome.RIGHT) / len(outcomes), abs=1e-4)
        assert 0 <= counts["interval"][0] <= counts["accuracy"] + 1e-3
        assert counts["interval"][1] <= 100


def test_an_outcome_outside_the_closed_list_is_refused():
    graded, _, _ = score([completion(1)], [question(1)], GRADERS, READING)
    with pytest.raises(ValueError, match=r"grader other: .* do not add up to 1"):
        summarise(graded, ["other"])


def test_predictions_are_joined_by_question_id_not_by_position():
    questions = [question(1, gold="1"), question(2, gold="2"), question(3, gold="3")]
    predictions = [completion(number, text=f"--> {number}") for number in (3, 1, 2)]
    graded, summary, _ = score(iter(predictions), iter(questions), GRADERS, READING)
    assert [row.qid for row in graded] == ["q001", "q002", "q003"]
    assert summary["graders"]["robust"]["right"] == 3


@pytest.mark.parametrize(
    ("asked", "answered", "message"),
    [
        ((1, 2, 3), (1, 3), r"qid q002: test question without a prediction\."),
        ((1, 2, 3, 4), (1, 3), r"qid q002: test question without a prediction \(1 more like it\)"),
        ((1,), (1, 7), "qid q007: prediction of a question that is not in the test split"),
        ((1, 2), (1, 2, 2), "qid q002: two prediction records"),
        ((1, 1), (1,), "qid q001: two question records"),
        ((), (), "the test split has no question"),
    ],
)
def test_predictions_that_do_not_match_the_questions_are_refused_by_name(asked, answered, message):
    with pytest.raises(UserError, match=message):
        score([completion(number) for number in answered], [question(number) for number in asked], GRADERS, READING)


def test_graders_judge_the_same_text_side_by_side():
    graded, summary, _ = score([completion(1, text="it is 4.0, so --> 4.0")], [question(1)], GRADERS, READING)
    assert graded[0].outcomes == {"paper": Outcome.WRONG, "robust": Outcome.RIGHT}
    assert (summary["graders"]["paper"]["accuracy"], summary["graders"]["robust"]["accuracy"]) == (0, 100)


def test_tokens_are_averaged_and_cut_off_completions_counted_whatever_their_verdict():
    predictions = [completion(1, tokens=10), completion(2, tokens=31, finish_reason="length")]
    _, summary, _ = score(predictions, [question(1), question(2)], GRADERS, READING)
    assert (summary["asked"], summary["mean_completion_tokens"], summary["truncated_percent"]) == (2, 20.5, 50)


def draft(number, round_, answer):
    return Draft(
        qid=f"q{number:03d}", round=round_, completion_id=f"d{number}-{round_}", text=f"--> {answer}", feedback=None
    )


def test_each_round_counts_the_newest_version_of_every_question_up_to_it():
    # Gold is 4. Right: none at first; 1, 2 and 5 after one round; 1 and 3 after two, since 2 and 5 became wrong.
    versions = [
        draft(1, 0, 3), draft(1, 1, 4),
        draft(2, 0, 3), draft(2, 1, 4), draft(2, 2, 5),
        draft(3, 0, 3), draft(3, 2, 4),
        draft(4, 0, 3),
        draft(5, 0, 3), draft(5, 1, 4), draft(5, 2, 3),
    ]  # fmt: skip
    rounds = score_rounds(versions[::-1], [question(number) for number in (1, 2, 3, 4, 5)], GRADERS, READING)
    assert rounds == {name: [0, 60, 40] for name in GRADERS}


def test_importing_the_scorer_loads_neither_numpy_nor_pandas():
    assert loaded("distillery.evaluation.score", "numpy", "pandas", "altair", "scipy") == []


@given(asked=st.integers(1, 2000), share=st.floats(0, 1))
def test_wilson_holds_the_accuracy_and_is_symmetric(asked, share):
    right = round(share * asked)
    low, high = wilson(right, asked)
    assert 0 <= low <= 100 * right / asked + 1e-9
    assert 100 * right / asked - 1e-9 <= high <= 100
    assert wilson(asked - right, asked) == pytest.approx((100 - high, 100 - low))


@pytest.mark.parametrize(
    ("right", "asked", "low", "high"),  # the last two: Newcombe 1998, Statistics in Medicine 17, table I, method 3
    [(0, 10, 0.0, 27.75), (10, 10, 72.25, 100.0), (81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05)],
)
def test_wilson_agrees_with_known_values(right, asked, low, high):
    assert wilson(right, asked) == pytest.approx((low, high), abs=0.01)


@pytest.mark.parametrize(("right", "asked"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_what_is_no_proportion(right, asked):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(right, asked)


def alternating(questions, period):
    return [place % period != 0 for place in range(questions)]


def test_the_bootstrap_is_deterministic_and_shrinks_with_more_questions():
    widths = []
    for questions in (40, 160, 640):
        runs = [alternating(questions, 3), alternating(questions, 4)]
        low, high = pooled_interval(runs)
        assert (low, high) == pooled_interval(runs)
        assert low < 100 * sum(map(sum, runs)) / (2 * questions) < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)


def test_seeds_that_disagree_widen_the_interval():
    agree = [alternating(200, 2)] * 4
    disagree = [alternating(200, 2)] * 2 + [[True] * 200, [False] * 200]
    (low, high), (lower, higher) = pooled_interval(agree), pooled_interval(disagree)
    assert higher - lower > 2 * (high - low)


def test_all_right_in_every_seed_is_not_called_certain():
    assert pooled_interval([[True] * 20] * 3) == wilson(20, 20)


def test_pairing_removes_what_both_arms_share():
    hard = alternating(300, 2)
    better = [right or place % 10 == 0 for place, right in enumerate(hard)]
    low, high = difference_interval([better], [hard])
    assert 0 < low < 100 * (sum(better) - sum(hard)) / 300 < high
    spread = pooled_interval([hard])
    assert high - low < (spread[1] - spread[0]) / 1.5


def test_the_difference_changes_sign_with_the_sides():
    arm, baseline = [alternating(100, 5)], [alternating(100, 2)]
    low, high = difference_interval(arm, baseline)
    assert low > 0
    assert difference_interval(baseline, arm) == pytest.approx((-high, -low))
    assert difference_interval(arm, arm) == (0, 0)


def test_runs_over_other_numbers_of_questions_cannot_be_pooled():
    with pytest.raises(ValueError, match="equal numbers"):
        pooled_interval([[True], [True, False]])
    with pytest.raises(ValueError, match="cannot be paired"):
        difference_interval([[True]], [[True, False]])
