"""Requests to teachers and reviewers: what each sees, what is generated again, and faults that never become a score."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery.config.committee_checks import routes
from distillery.config.review import AcceptanceRule
from distillery.peer_review.acceptance import decide, sweep_thresholds
from distillery.peer_review.ask import SCORES, ask_reviewers, ask_teachers, hints_of
from distillery.peer_review.assignments import assignments
from distillery.peer_review.records import Decision, Mistake, Taught
from distillery.records import Question, Verdict
from distillery.sampling import sampler as sampling
from distillery.sampling.backends.base import Generated
from distillery.sampling.logprobs import decode_choice, encode_choice
from distillery.sampling.requests import STORE_FORMAT, Request, Series
from distillery.sampling.sampler import CompletionSampler
from distillery.sampling.store import CompletionStore
from distillery.sampling.store_maintenance import verify

DECODING = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 8, "answer_tokens": 8, "seed": 0}
SOLVE = {"prompt": "s", "input": "Q: {{ question }}\nA:", "exemplars": 0}
REMARK = {"prompt": "f", "input": "Q: {{ question }} W: {{ wrong }} G: {{ gold }}\nF:", "exemplars": 0}
REVIEW = {"prompt": "r", "input": "Q: {{ question }} R: {{ rationale }} H: {{ hint }}\nJ:", "answer_cue": " ["}
PAPER = {**REVIEW, "answer_cue": None}
LIKELY_FOUR = encode_choice({"4": -0.2, "5": -1.7})
MISTAKES = [
    Mistake(qid=f"q{n}", question=f"what is {n}?", gold=f"gold{n}", text=f"wrong{n}", answer="0", kind="wrong",
            completion_id=None)
    for n in range(3)
]  # fmt: skip


class Scripted:
    """A backend with fixed answers that records every prompt; choices get `scores`, which may break the constraint."""

    def __init__(self, text="fine", scores=LIKELY_FOUR, finish_reason="stop"):
        self.text, self.scores, self.finish_reason = text, scores, finish_reason
        self.prompts: list[str] = []

    def generate(self, asked, series):
        for pending in asked:
            self.prompts.append(pending.request.prompt)
            text = self.scores if series.choice else self.text
            yield Generated(pending.key, text, "stop" if series.choice else self.finish_reason, 1, 1)


@pytest.fixture
def asking(tmp_path, monkeypatch):
    """Make a sampler with a given backend; all samplers share one store."""

    def make(backend, model="m"):
        monkeypatch.setattr(sampling, "open_backend", lambda *_: backend)
        return CompletionSampler(tmp_path, model, "causal", CompletionStore(str(tmp_path / "store")))

    return make


def teachers(*names):
    return {
        name: {"rationale": {"prompt": SOLVE, "decoding": {**DECODING, "temperature": 0.5, "seed": number}},
               "feedback": {"prompt": REMARK, "decoding": DECODING}}
        for number, name in enumerate(names)
    }  # fmt: skip


def rationales(*authors):
    return [
        Taught(completion_id=f"{author}-{mistake.qid}", qid=mistake.qid, sampler=author, sample_index=0,
               text=f"by {author}", finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        for author in authors
        for mistake in MISTAKES
    ]  # fmt: skip


def review(model_sampler, authors=("anna", "bert", "cleo"), protocol="robust", section=REVIEW, reviewers=None):
    panel = {name: name for name in authors}
    todo, _ = assignments(rationales(*authors), routes(panel, at_least=1))
    asked = dict.fromkeys(reviewers or authors, section)
    hints = {mistake.qid: mistake.gold for mistake in MISTAKES}
    return ask_reviewers(todo, MISTAKES, asked, model_sampler, protocol=protocol, decoding=DECODING, hints=hints)


def test_feedback_sees_the_wrong_and_the_gold_answer_and_a_rationale_neither(asking):
    backend = Scripted()
    reasoned, remarks = ask_teachers(MISTAKES, [], teachers("anna", "bert"), asking(backend))
    assert len(reasoned) == len(remarks) == 6
    for prompt in backend.prompts:
        of_feedback = prompt.endswith("F:")
        assert ("wrong" in prompt) is of_feedback and ("gold" in prompt) is of_feedback


def test_one_more_teacher_draws_only_its_own_calls(asking):
    ask_teachers(MISTAKES, [], teachers("anna", "bert"), asking(Scripted()))
    again = asking(backend := Scripted())
    ask_teachers(MISTAKES, [], teachers("anna", "bert", "cleo"), again)
    assert again.requested == 18 and again.generated == len(backend.prompts) == 3, (
        "the third differs in its rationales' seed"
    )


def test_one_more_reviewer_draws_only_its_own_calls(asking):
    two = {"prompt": "other", "input": "{{ question }}{{ rationale }}{{ hint }}?", "answer_cue": " ["}
    review(asking(Scripted()), reviewers=["anna", "bert"])
    again = asking(backend := Scripted())
    review(again, reviewers=["anna", "bert"])
    assert again.generated == 0
    review(again, reviewers=["cleo"], section=two)
    assert again.generated == len(backend.prompts) == 12, "six critiques and six scores"


def test_a_reviewer_never_reads_who_wrote_a_rationale_nor_its_own(asking):
    reviews, replies = review(asking(Scripted()))
    assert len(reviews) == len(replies) == 18
    assert all(review.author != review.reviewer for review in reviews)
    assert {reply.text for reply in replies} == {"fine"}, "raw replies are kept"


def test_a_reviewer_sees_question_rationale_and_gold_answer_but_never_the_students_answer(asking):
    backend = Scripted()
    review(asking(backend), reviewers=["bert"], section=PAPER, protocol="paper")
    expected = {f"Q: what is {n}? R: by {author} H: gold{n}\nJ:" for n in range(3) for author in ("anna", "cleo")}
    assert set(backend.prompts) == expected and len(backend.prompts) == 6


@pytest.mark.parametrize(
    ("hint", "seen"),
    [("answer", {"q0": "gold0", "q1": "gold1"}), ("reference", {"q0": "steps", "q1": "gold1"}), ("none", {})],
)
def test_a_hint_is_the_gold_answer_or_the_reference_solution(hint, seen):
    questions = [
        Question(qid="q0", task="t", question="what is 0?", gold="gold0", rationale="steps"),
        Question(qid="q1", task="t", question="what is 1?", gold="gold1"),
    ]
    assert hints_of(hint, MISTAKES[:2], questions) == seen


def test_a_score_by_choice_has_the_models_own_probabilities(asking):
    (first, *_), (reply, *_) = review(asking(Scripted()))
    assert (first.score, first.protocol) == (4, "robust")
    assert first.expected == pytest.approx((4 * 0.8187 + 5 * 0.1827) / (0.8187 + 0.1827), abs=1e-3)
    assert reply.logprobs == {"4": -0.2, "5": -1.7} and reply.answer_id


def test_the_constraint_is_part_of_the_key_and_free_texts_keep_theirs():
    free = Series.of("m", DECODING, [])
    bound = Series.of("m", DECODING, [], choice=SCORES)
    request = Request("p", 0)
    assert free.digest != bound.digest and request.key(free) != request.key(bound)
    assert "choice" not in free.describe() and free.describe()["format"] == STORE_FORMAT


def test_a_store_with_choices_is_whole_to_its_tools(asking, tmp_path):
    review(asking(Scripted()))
    assert list(verify(CompletionStore(str(tmp_path / "store")))) == []


FAULTS = {
    "prose": "I think it is quite good.",
    "a number out of range": "83",
    "zero": "0",
    "a choice off the scale": '{"choice": "6", "logprobs": {"6": -0.1}}',
    "a choice that is prose": '{"choice": "good", "logprobs": {}}',
    "broken JSON": '{"choice": "4", "logpro',
    "nothing": "",
    "half a point": "4.5",
}


@pytest.mark.parametrize("scores", FAULTS.values(), ids=FAULTS)
def test_a_server_that_breaks_the_constraint_gives_no_score_and_nothing_is_accepted(asking, scores):
    reviews, replies = review(asking(Scripted(scores=scores)))
    assert {review.score for review in reviews} == {None} and all(review.reason for review in reviews)
    assert len(replies) == 18
    decided, _ = decide(rationales("anna", "bert", "cleo"), reviews, [], AcceptanceRule(threshold=0))
    assert {acceptance.decision for acceptance in decided} == {Decision.UNDECIDED}


@pytest.mark.parametrize("text", ["It is well reasoned.", "[83]", "[0]", "", "[]", "[good]"])
@pytest.mark.parametrize("protocol", ["paper", "robust"])
def test_a_reply_without_a_score_on_the_scale_is_never_accepted(asking, text, protocol):
    reviews, _ = review(asking(Scripted(text=text)), protocol=protocol, section=PAPER)
    decided, _ = decide(rationales("anna", "bert", "cleo"), reviews, [], AcceptanceRule(threshold=0, min_reviews=1))
    assert {acceptance.decision for acceptance in decided} == {Decision.UNDECIDED}


@given(st.text())
def test_no_text_passes_for_a_choice_off_the_scale(text):
    found = decode_choice(text, SCORES)
    assert found is None or found.choice in SCORES


def test_two_scores_without_probabilities_have_no_expected_score(asking):
    reviews, _ = review(asking(Scripted(scores=encode_choice({}, "5"))))
    assert {(review.score, review.expected) for review in reviews} == {(5, None)}


def test_a_null_rationale_is_not_reviewed(asking):
    backend = Scripted()
    written = [rationale.model_copy(update={"text": " "}) for rationale in rationales("anna", "bert", "cleo")]
    todo, counts = assignments(written, routes({"anna": "a", "bert": "b", "cleo": "c"}))
    given_, replies = ask_reviewers(
        todo, MISTAKES, {"anna": REVIEW}, asking(backend), protocol="robust", decoding=DECODING, hints={}
    )
    assert (given_, replies, backend.prompts, counts["null"]) == ([], [], [], 9)


def test_a_sweep_keeps_no_more_with_a_higher_threshold_and_counts_as_decide_does(asking):
    reviews, _ = review(asking(Scripted()))
    written = rationales("anna", "bert", "cleo")
    verdicts = [
        Verdict(completion_id=completion.completion_id, qid=completion.qid, sample_index=0, grader="robust",
                outcome="right", answer="1", reason="")
        for completion in written
    ]  # fmt: skip
    found = sweep_thresholds(written, reviews, verdicts, AcceptanceRule())
    assert [row["accepted"] for row in found] == [9, 9, 9, 9, 0, 0], "all means are 4"
    assert found[0]["precision"] == 1.0 and found[-1]["precision"] is None


@pytest.mark.parametrize("chat", [False, True])
def test_special_tokens_are_added_to_every_call_but_those_in_a_chat_template(asking, tmp_path, chat):
    (tmp_path / "api.json").write_text("{}")  # an endpoint applies its own template
    sent = []

    class Recording(Scripted):
        def generate(self, asked, series):
            sent.extend((bool(series.choice), pending.request.special_tokens) for pending in asked)
            yield from super().generate(asked, series)

    review(asking(Recording()), reviewers=["bert"], section={**REVIEW, "chat": chat})
    given = teachers("anna")
    for kind in ("rationale", "feedback"):
        given["anna"][kind]["prompt"] = {**given["anna"][kind]["prompt"], "chat": chat}
    ask_teachers(MISTAKES, [], given, asking(Recording()))
    assert len(sent) == 6 + 6 + 3 + 3 and {special for _, special in sent} == {not chat}
