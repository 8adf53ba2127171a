"""What verification lets through, counted by hand."""

from distillery.config.task import Grader
from distillery.records import Completion, Question
from distillery.verification.judge import Reading
from distillery.verification.verify import verify, yield_of

TEXTS = {
    # question -> texts of its samples; the gold answer is 1
    "qa": ["--> 2", "--> 1", "--> 1"],
    "qb": ["--> 1 or 5", "--> 3", "nothing"],
    "qc": ["--> 2", "--> 2", "--> 1"],
    "qd": ["--> 0", "--> 0", "--> 0"],
}


def test_a_yield_counts_completions_and_the_questions_that_they_cover():
    questions = [Question(qid=qid, task="t", question="?", gold="1") for qid in TEXTS]
    completions = [
        Completion(completion_id=f"{qid}{n}", qid=qid, sampler="s", sample_index=n, text=text, finish_reason="stop",
                   prompt_tokens=1, completion_tokens=1)
        for qid, texts in TEXTS.items() for n, text in enumerate(texts)
    ]  # fmt: skip
    graders = {
        "strict": Grader(candidates="number", without_delimiter="unparsable"),
        "two": Grader(candidates="number", compare="number", gold="number-in-text", choose="last"),
    }
    assert yield_of([])["share_of_rationales"] is yield_of([])["share_of_questions"] is None
    verdicts, yields, work = verify(completions, questions, graders, Reading(delimiter="-->"))
    assert yields["two"]["outcomes"]["right"] == 3, "the last number of a text is another answer"
    assert yields["strict"] == {
        "asked": 12,
        "outcomes": {
            "right": 4, "wrong": 7, "unparsable": 1, "truncated": 0, "refused": 0, "failed": 0, "rejected": 0,
            "raised": 0,
        },
        "questions": 4,
        "questions_covered": [1, 2, 3],
        "right_per_question": {"0": 1, "1": 2, "2": 1},
        "share_of_rationales": 0.3333,
        "share_of_questions": 0.75,
    }  # fmt: skip
    assert [(one.completion_id, one.grader) for one in verdicts[:3]] == [
        ("qa0", "strict"),
        ("qa0", "two"),
        ("qa1", "strict"),
    ]
    assert {one.answer for one in verdicts if one.qid == "qd"} == {"0"} and work == {}
