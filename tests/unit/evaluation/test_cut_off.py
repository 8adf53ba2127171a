"""Only texts that were cut off at the token limit count as truncated: a refusal and a failed call do not."""

from distillery.config.task import Grader
from distillery.evaluation.score import score
from distillery.records import Completion, Question
from distillery.verification.judge import Reading


def test_a_refused_or_failed_completion_was_not_cut_off():
    reasons = ("stop", "length", "refused", "failed")
    completions = [
        Completion(completion_id=reason, qid=reason, sampler="s", sample_index=0, text="1", finish_reason=reason,
                   prompt_tokens=1, completion_tokens=number)
        for number, reason in enumerate(reasons)
    ]  # fmt: skip
    questions = [Question(qid=reason, task="t", question="?", gold="1") for reason in reasons]
    _, summary, _ = score(completions, questions, {"loose": Grader(candidates="number")}, Reading())
    assert (summary["truncated_percent"], summary["mean_completion_tokens"]) == (25.0, 1.5)
    counts = summary["graders"]["loose"]
    assert {name: counts[name] for name in ("right", "refused", "failed", "accuracy")} == {
        "right": 2, "refused": 1, "failed": 1, "accuracy": 50.0,
    }  # fmt: skip
