"""Prompts and training rows: a student is asked as it was taught, and every completion is accounted for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows
from distillery.errors import UserError
from distillery.records import Completion, Question, Verdict
from distillery.tasks.prompts import Renderer
from distillery.training.compose import compose
from distillery.training.sources.common import Sampled

STUDENT = Renderer(
    Prompt(
        prompt="student",
        input="Q: {{ question }}\nA:",
        target=" {{ rationale }} --> {{ answer }}",
        delimiter="-->",
    ),
    [],
)
FEW_SHOT = Prompt(
    prompt="few",
    input="Q: {{ question }}\nA:",
    exemplar="Q: {{ question }}\nA: {{ rationale }} --> {{ answer }}",
    exemplars=1,
    delimiter="-->",
)
TEACHER = Renderer(FEW_SHOT, [{"question": "1 + 1?", "rationale": "1 + 1 = 2.", "gold": "2"}])
QUESTIONS = [Question(qid=f"t-{n}", task="t", question=f"{n} + 1?", gold=str(n + 1)) for n in range(4)]


def sampled(outcomes: dict[tuple[int, int], str], texts: dict[tuple[int, int], str] | None = None) -> Sampled:
    """Completions of `QUESTIONS` by (question, sample index) -> outcome of the robust grader."""
    completions, verdicts = [], []
    for (number, index), outcome in outcomes.items():
        text = (texts or {}).get((number, index), f" way {index} --> {number + 1}")
        ids = {"completion_id": f"c{number}-{index}", "qid": f"t-{number}", "sample_index": index}
        completions.append(
            Completion(**ids, sampler="s", text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        )
        verdicts.append(Verdict(**ids, grader="robust", outcome=outcome, answer=None, reason=""))
    return Sampled(completions, verdicts, TEACHER, path="verdicts.jsonl")


def rows_of(source: dict, given_samples: Sampled, seed: int = 1):
    return compose(
        QUESTIONS,
        {"teacher": Rows.model_validate({"from": "teacher", **source})},
        {"teacher": given_samples},
        STUDENT,
        seed=seed,
    )


def test_the_target_ends_with_the_gold_answer_whatever_the_teacher_wrote():
    rows, _ = rows_of({}, sampled({(0, 0): "right"}, {(0, 0): " One. --> 1.0 or so"}))
    assert [(row.prompt, row.target) for row in rows] == [("Q: 0 + 1?\nA:", " One. --> 1")]


def test_degree_means_the_first_completions_before_the_filter():
    """Fine-tune-CoT: D attempts per question, filtered afterwards; a question keeps 0 to D."""
    samples = sampled({(0, 0): "wrong", (0, 1): "right", (0, 2): "right", (1, 0): "right"})
    rows, summary = rows_of({"degree": 2}, samples)
    assert [(row.qid, row.sample_index) for row in rows] == [("t-0", 1), ("t-1", 0)]
    assert summary["sources"]["teacher"]["looked_at"] == 3


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["right", "wrong", "truncated"]), min_size=1
    ),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 3)),
)
def test_every_completion_looked_at_is_kept_or_dropped_with_a_reason(outcomes, unique, cap):
    samples = sampled(outcomes, dict.fromkeys(outcomes, " same --> 1"))
    if "right" not in outcomes.values():
        with pytest.raises(UserError, match="not one of"):
            rows_of({"unique": unique, "per_question": cap}, samples)
        return
    rows, summary = rows_of({"unique": unique, "per_question": cap}, samples)
    counts = summary["sources"]["teacher"]
    assert counts["kept"] == len(rows)
    assert counts["looked_at"] == len(outcomes) == counts["kept"] + sum(counts["dropped"].values())
    if unique:
        assert len({row.qid for row in rows}) == len(rows)
    if cap:
        assert all(sum(row.qid == question.qid for row in rows) <= cap for question in QUESTIONS)


def test_a_rationale_that_was_cut_off_is_dropped_unless_the_recipe_keeps_it():
    samples = sampled({(0, 0): "right", (1, 0): "right"})
    samples.completions[0] = samples.completions[0].model_copy(update={"finish_reason": "length"})
    rows, summary = rows_of({}, samples)
    assert [row.qid for row in rows] == ["t-1"]
    assert summary["sources"]["teacher"]["dropped"] == {"truncated": 1}
    assert len(rows_of({"truncated": "keep"}, samples)[0]) == 2


def test_a_smaller_share_of_the_questions_is_part_of_a_larger_one():
    samples = sampled({(number, 0): "right" for number in range(4)})
    shares = [{row.qid for row in rows_of({"share": share}, samples)[0]} for share in (0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [1, 2, 4]
    assert shares[0] < shares[1] < shares[2]


def test_without_one_right_rationale_composing_is_refused_and_says_what_there_was():
    with pytest.raises(UserError) as told:
        rows_of({}, sampled({(0, 0): "wrong", (1, 0): "truncated", (2, 0): "wrong"}))
    for word in ("verdicts.jsonl", "rows.teacher", "1 truncated", "2 wrong", "robust"):
        assert word in str(told.value)


def test_exemplars_stand_before_the_question_in_the_form_that_the_model_continues():
    assert TEACHER.input("5 + 1?") == "Q: 1 + 1?\nA: 1 + 1 = 2. --> 2\n\nQ: 5 + 1?\nA:"


def test_similar_exemplars_stand_nearest_to_the_question_and_numbers_do_not_count():
    pool = [
        {"question": f"{word} 7?", "rationale": "r", "gold": "g"} for word in ("pears", "red apples", "apples", "7 8 9")
    ]
    prompt = FEW_SHOT.model_copy(update={"exemplars": 2, "select": "similar"})
    shown = [line for line in Renderer(prompt, pool).input("7 8 9 apples").splitlines() if line.startswith("Q:")]
    assert shown == ["Q: red apples 7?", "Q: apples 7?", "Q: 7 8 9 apples"]


@pytest.mark.parametrize("key", ["input", "target", "exemplar"])
def test_a_template_that_names_an_unknown_field_is_refused_by_name(key):
    prompt = FEW_SHOT.model_copy(update={key: "{{ qestion }}"})
    with pytest.raises(UserError) as told:
        Renderer(prompt, [{"question": "q", "rationale": "r", "gold": "g"}])
    assert "qestion" in str(told.value) and f"config/prompts/few.yaml: {key}" in str(told.value)


@given(st.text(alphabet="abc 123+=.\n", max_size=30), st.text(alphabet="0123456789", min_size=1, max_size=4))
def test_a_composed_target_gives_back_its_rationale(rationale, answer):
    assert STUDENT.rationale(STUDENT.target(rationale.strip(), answer)) == rationale.strip()


THINKING = {
    (0, 0): "<think>\nNothing, and one.\n</think>\n\nSo 0 + 1 = 1. --> 1",
    (1, 0): " 1 + 1 = 2. --> 2",
    (2, 0): "<think>\nI end with --> 3.\n</think>\n\n--> 3",
    (3, 0): "<think>\nThree, and",
}


@pytest.mark.parametrize(
    ("taught", "targets", "dropped"),
    [
        ("reasoning", {"t-0": " Nothing, and one. --> 1", "t-1": " 1 + 1 = 2. --> 2"},
         {"delimiter in the thinking": 1, "truncated": 1}),
        ("answer", {"t-0": " So 0 + 1 = 1. --> 1", "t-1": " 1 + 1 = 2. --> 2"},
         {"empty rationale": 1, "truncated": 1}),
        ("both", {"t-0": " <think>\nNothing, and one.\n</think>\n\nSo 0 + 1 = 1. --> 1", "t-1": " 1 + 1 = 2. --> 2",
                  "t-2": " <think>\nI end with --> 3.\n</think> --> 3"}, {"truncated": 1}),
    ],
)  # fmt: skip
def test_the_recipe_says_which_part_of_a_completion_is_taught(taught, targets, dropped):
    samples = sampled(dict.fromkeys(THINKING, "right"), THINKING)
    rows, summary = rows_of({"taught": taught}, samples)
    assert [row.model_dump() for row in rows] == [
        {"qid": qid, "source": "teacher", "sample_index": 0, "completion_id": f"c{qid[2:]}-0",
         "prompt": f"Q: {qid[2:]} + 1?\nA:", "target": target}
        for qid, target in targets.items()
    ]  # fmt: skip
    assert summary["sources"]["teacher"]["dropped"] == dropped
    if taught == "reasoning":
        assert rows_of({}, samples)[0] == rows


def test_thinking_that_was_cut_off_is_kept_where_the_recipe_keeps_texts_that_were_cut():
    rows, _ = rows_of({"truncated": "keep"}, sampled({(3, 0): "right"}, THINKING))
    assert [row.target for row in rows] == [" Three, and --> 4"]
