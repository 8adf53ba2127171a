"""The samples that a recipe used are completions of models: each counts once, however many sources read it."""

from distillery.config.prompt import Prompt
from distillery.config.recipe import Rows
from distillery.records import Completion, Question, Verdict
from distillery.tasks.prompts import Renderer
from distillery.training.compose import Sampled, compose

STUDENT = Renderer(Prompt(prompt="s", input="{{ question }}", target=" {{ rationale }}", delimiter="-->"), [])
QUESTIONS = [Question(qid=f"q{n}", task="t", question=f"{n}?", gold=str(n), rationale="Gold.") for n in range(3)]


def sampled(samples: int) -> Sampled:
    ids = [{"completion_id": f"c{n}-{i}", "qid": f"q{n}", "sample_index": i} for n in range(3) for i in range(samples)]
    return Sampled(
        [
            Completion(**each, sampler="s", text="Because.", finish_reason="stop", prompt_tokens=1, completion_tokens=1)
            for each in ids
        ],
        [Verdict(**each, grader="robust", outcome="right", answer=None, reason="") for each in ids],
        STUDENT,
        path="verdicts.jsonl",
    )


def used(sources: dict[str, dict], samples: dict[str, int]) -> tuple[int, int]:
    rows, summary = compose(
        QUESTIONS,
        {name: Rows.model_validate(source) for name, source in sources.items()},
        {name: sampled(number) for name, number in samples.items()},
        STUDENT,
        seed=1,
    )
    assert summary["training_rows"] == len(rows)
    return summary["samples_used"], len(rows)


def test_two_sources_on_the_same_completions_use_them_once_and_two_models_add_up():
    first, both = {"from": "teacher", "degree": 2}, {"from": "teacher"}
    assert used({"few": first}, {"few": 4}) == (6, 6)
    assert used({"few": first, "all": both}, {"few": 4, "all": 4}) == (12, 18)
    assert used({"all": both, "mentor": {"from": "mentor"}}, {"all": 4, "mentor": 2}) == (18, 18)


def test_gold_rationales_are_no_samples():
    assert used({"gold": {"from": "gold"}}, {}) == (0, 3)
