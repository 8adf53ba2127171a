"""DryRun: what a plan counts is what the stage then draws, whatever is in the store; and never less."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery.config.review import StudentAnswers
from distillery.files import write_json
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.job import Job
from distillery.models.manifest import Manifest, Vocabulary, describe_endpoint
from distillery.peer_review.ask import ask_reviewers, ask_teachers, hints_of
from distillery.peer_review.assignments import assignments
from distillery.peer_review.mistakes import find_mistakes
from distillery.peer_review.records import Mistake, Taught
from distillery.planning.dry_run import DryRun, RequestCount
from distillery.planning.forecast import JobStatus, forecast_jobs
from distillery.planning.snakemake_graph import Node
from distillery.programs.self_refinement import most_repairs, refine
from distillery.programs.step_search import most_lines, search
from distillery.records import Completion, Question, Verdict, read_records, write_records
from distillery.sampling.backends.base import Generated
from distillery.sampling.budget import PRICES_VARIABLE
from distillery.sampling.logprobs import encode_choice, encode_scored
from distillery.sampling.sampler import CompletionSampler, sample
from distillery.sampling.store import CompletionStore

DECODING = {"temperature": 0.7, "top_p": 1.0, "top_k": 0, "max_new_tokens": 8, "answer_tokens": 4, "seed": 0}
SOLVE = {"prompt": "s", "input": "Q: {{ question }}\nA:", "exemplars": 0}
TWICE = {**SOLVE, "answer_cue": " So the answer is"}
REMARK = {"prompt": "f", "input": "Q: {{ question }} W: {{ wrong }} G: {{ gold }}\nF:", "exemplars": 0}
REVIEW = {"prompt": "r", "input": "Q: {{ question }} R: {{ rationale }} H: {{ hint }}\nJ:", "answer_cue": " ["}
STATED = {"prompt": "t", "input": "R: {{ rationale }} H: {{ hint }}\nScore:"}
QUESTIONS = [Question(qid=f"q{n}", task="t", question=f"what is {n}?", gold=f"gold{n}") for n in range(4)]
PATHS = ("questions.jsonl", "exemplars.jsonl", "base/manifest.json", "mistakes.jsonl", "rationales.jsonl")


class Scripted:
    """Writes of each prompt what its key says: nothing now and then, sometimes what another prompt gets too."""

    def __init__(self, share=1.0):
        self.share = share

    def generate(self, asked, series):
        for one in asked:
            if int(one.key[:4], 16) < self.share * 65536:
                text = ["", "fine", "so so", f"text {one.key[:6]}"][int(one.key[4], 16) % 4]
                if series.choice:
                    text = encode_choice({"4": -0.2, "5": -1.7})
                elif series.scored:
                    text = encode_scored(text, -1.0, None)
                yield Generated(one.key, text, "stop", 1, 3)


class Workspace:
    """A folder with a task, a model and a committee of two teachers; and the jobs of an exchange in it."""

    def __init__(self, root: Path, *, cue=None, samples=1, hint="answer", section=REVIEW, limit=None, identity="m"):
        self.store = CompletionStore(str(root / "store"))
        self.questions, self.exemplars, self.manifest, self.mistakes, self.rationales = (root / one for one in PATHS)
        write_records(self.questions, QUESTIONS)
        self.exemplars.write_text("")
        self.model(identity)
        self.teachers = {
            name: {"rationale": {"prompt": TWICE if cue else SOLVE, "decoding": {**DECODING, "seed": seed}},
                   "feedback": {"prompt": REMARK, "decoding": DECODING}}
            for seed, name in enumerate(["anna", "bert"])
        }  # fmt: skip
        self.routing = {"anna": ["bert", "cleo"], "bert": ["anna", "cleo"]}
        self.reviewers = {"anna": section, "bert": section, "cleo": STATED}
        self.review = {"protocol": "robust", "decoding": DECODING, "hint": hint, "samples": samples}
        self.student_answers = {"limit": limit, "unparsable": "keep"}
        self.completions, self.verdicts = root / "completions.jsonl", root / "verdicts.jsonl"

    def model(self, identity):
        vocabulary = Vocabulary(size=1, tokenizer_sha256="")
        made = Manifest(name="m", kind="hub", architecture="causal", identity=identity, files={}, vocabulary=vocabulary,
                        parameters=10, layers=1)  # fmt: skip
        write_json(self.manifest, made.model_dump(mode="json"))

    def sit(self, wrong):
        """The student has answered and was graded: these questions are mistakes."""
        written = [
            Completion(completion_id=f"c{one.qid}", qid=one.qid, sampler="student-answers", sample_index=0,
                       text="It is 9.", finish_reason="stop", prompt_tokens=0, completion_tokens=0)
            for one in QUESTIONS
        ]  # fmt: skip
        graded = [
            Verdict(completion_id=one.completion_id, qid=one.qid, sample_index=0, grader="robust", answer="9",
                    outcome="wrong" if one.qid in wrong else "right", reason="")
            for one in written
        ]  # fmt: skip
        write_records(self.completions, written)
        write_records(self.verdicts, graded)

    def nodes(self, *planned):
        """The jobs, of which these are planned."""
        inputs = {"exemplars": self.exemplars, "manifest": self.manifest}
        student_answers = {"questions": self.questions, "completions": self.completions, "verdicts": self.verdicts}
        jobs = {
            "questions": Job("questions", {}, {"train": self.questions}, {}),
            "mistakes": Job("mistakes", student_answers, {"mistakes": self.mistakes},
                            {"student_answers": self.student_answers}),
            "ask_teachers": Job("ask_teachers", {"mistakes": self.mistakes, **inputs}, {"rationales": self.rationales},
                           {"teachers": self.teachers}),
            "peer_review": Job(
                "peer_review",
                {"mistakes": self.mistakes, "rationales": [self.rationales], "manifest": self.manifest,
                 "questions": self.questions if self.review["hint"] == "reference" else []},
                {"reviews": self.mistakes.parent / "reviews.jsonl"},
                {"reviewers": self.reviewers, "routing": self.routing, "review": self.review},
            ),
        }  # fmt: skip
        return [Node(name, job, name in planned, "") for name, job in jobs.items()]

    def counted(self, *planned) -> dict[str, RequestCount]:
        forecasts, contents = forecast_jobs(self.nodes(*planned), ArtifactCache(None))
        dry_run = DryRun(forecasts, contents, self.store)
        return {planned.node.rule: dry_run.of(planned) for planned in forecasts if planned.status is not JobStatus.DONE}

    def model_sampler(self, share=1.0):
        made = CompletionSampler(self.manifest.parent / "model", "m", "causal", self.store)
        made._backend = Scripted(share)
        return made

    def ask_teachers(self, share=1.0) -> int:
        model_sampler = self.model_sampler(share)
        with contextlib.suppress(RuntimeError) if share < 1 else contextlib.nullcontext():
            written, _ = ask_teachers(list(read_records(self.mistakes, Mistake)), [], self.teachers, model_sampler)
            write_records(self.rationales, written)
        return model_sampler.generated

    def peer_review(self, share=1.0) -> int:
        model_sampler, found = self.model_sampler(share), list(read_records(self.mistakes, Mistake))
        todo, _ = assignments(read_records(self.rationales, Taught), self.routing)
        hints = hints_of(self.review["hint"], found, QUESTIONS)
        with contextlib.suppress(RuntimeError) if share < 1 else contextlib.nullcontext():
            ask_reviewers(todo, found, self.reviewers, model_sampler, protocol="robust", decoding=DECODING, hints=hints,
                          samples=self.review["samples"])  # fmt: skip
        return model_sampler.generated


def _mistakes(work):
    found, _ = find_mistakes(
        QUESTIONS,
        read_records(work.completions, Completion),
        read_records(work.verdicts, Verdict),
        StudentAnswers.model_validate(work.student_answers),
    )
    return found


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    return lambda **kinds: Workspace(tmp_path_factory.mktemp("rehearsal"), **kinds)


shares = st.sampled_from([0.0, 0.3, 0.7, 1.0])
kinds = st.fixed_dictionaries(
    {
        "cue": st.booleans(),
        "samples": st.integers(1, 2),
        "hint": st.sampled_from(["none", "answer", "reference"]),
        "section": st.sampled_from([REVIEW, STATED]),
    }
)
several = settings(max_examples=12, deadline=None)


def holds(counts: RequestCount, drawn: int) -> bool:
    """Exactly so many, or at most where it says so."""
    return counts.samples >= drawn if counts.at_most else counts.samples == drawn


@several
@given(kinds, shares, st.sets(st.sampled_from([one.qid for one in QUESTIONS]), min_size=1))
def test_known_mistakes_are_counted_exactly_whatever_part_is_in_the_store(make, kind, share, wrong):
    work = make(**kind)
    work.sit(wrong)
    write_records(work.mistakes, _mistakes(work))
    work.ask_teachers(share)
    counts = work.counted("ask_teachers")["ask_teachers"]
    assert not counts.at_most and counts.samples == work.ask_teachers()
    assert work.counted("ask_teachers")["ask_teachers"].samples == 0


@several
@given(kinds, shares, shares)
def test_reviews_are_counted_exactly_once_the_rationales_are_there(make, kind, taught, reviewed):
    work = make(**kind)
    work.sit({"q0", "q1", "q2"})
    write_records(work.mistakes, _mistakes(work))
    work.ask_teachers()
    work.peer_review(reviewed)
    counts = work.counted("peer_review")["peer_review"]
    # Two critiques that come out equal are scored in one call; that is all that may be less.
    assert holds(counts, work.peer_review()) and (not counts.at_most or kind["samples"] > 1)
    assert work.counted("peer_review")["peer_review"].samples == 0


@several
@given(kinds, shares, st.one_of(st.none(), st.integers(1, 5)), st.sets(st.sampled_from(["q0", "q1", "q3"]), min_size=1))
def test_without_mistakes_and_rationales_the_count_is_a_bound(make, kind, share, limit, wrong):
    work = make(limit=limit, **kind)
    first = work.counted("questions", "mistakes", "ask_teachers", "peer_review")
    assert first["ask_teachers"].at_most and first["peer_review"].at_most
    work.sit(wrong)
    write_records(work.mistakes, _mistakes(work))
    counts = work.counted("ask_teachers", "peer_review")
    drawn = work.ask_teachers(), 0
    drawn = drawn[0], work.peer_review()
    for stage, number in zip(("ask_teachers", "peer_review"), drawn, strict=True):
        assert number <= counts[stage].samples <= first[stage].samples
        assert holds(counts[stage], number)


def test_a_bound_counts_every_call_of_the_exam_s_limit(make):
    work = make(limit=2, section=REVIEW)
    counts = work.counted("questions", "mistakes", "ask_teachers", "peer_review")
    # Two mistakes, two teachers: a rationale each, and feedback, which both are asked for in the same words.
    assert counts["ask_teachers"] == RequestCount(2 * 2 + 2, at_most=True)
    # Four rationales, a critique and a score of the one, a stated score of the other reviewer.
    assert counts["peer_review"] == RequestCount(4 * (2 + 1), at_most=True)


def test_a_graded_exam_gives_its_mistakes_before_their_job_ran(make):
    work = make(limit=3)
    work.sit({"q0", "q1"})
    counts = work.counted("mistakes", "ask_teachers")["ask_teachers"]
    assert counts == RequestCount(2 * 2 + 2)
    write_records(work.mistakes, _mistakes(work))
    assert work.ask_teachers() == counts.samples


def test_rationales_that_are_in_the_store_are_known_to_the_reviews_behind_them(make):
    """As after a change of code: the teachers' job runs again, and everybody has answered before."""
    work = make()
    work.sit({"q0", "q1"})
    write_records(work.mistakes, _mistakes(work))
    work.ask_teachers()
    work.peer_review()
    work.rationales.unlink()
    counts = work.counted("ask_teachers", "peer_review")
    assert [one.samples for one in counts.values()] == [0, 0] and not any(one.at_most for one in counts.values())


def test_what_two_jobs_ask_is_counted_once(make):
    work = make()
    work.sit({"q0"})
    write_records(work.mistakes, _mistakes(work))
    forecasts, contents = forecast_jobs(work.nodes("ask_teachers"), ArtifactCache(None))
    (one,) = [one for one in forecasts if one.status is not JobStatus.DONE]
    dry_run = DryRun(forecasts, contents, work.store)
    assert [dry_run.of(one).samples for _ in range(2)] == [3, 0]


def test_an_endpoint_has_its_price_before_it_has_a_manifest(make, monkeypatch):
    work = make()
    work.sit({"q0", "q1"})
    write_records(work.mistakes, _mistakes(work))
    work.manifest.unlink()
    spec = {"kind": "api", "id": "big", "endpoint": "http://here/v1"}
    base = Node("base_model", Job("base_model", {}, {"manifest": work.manifest}, {"spec": spec}), True, "")
    forecasts, contents = forecast_jobs([base, *work.nodes("ask_teachers")], ArtifactCache(None))
    monkeypatch.setitem(os.environ, PRICES_VARIABLE, '{"api:big@http://here/v1": [0, 1000000]}')
    assert describe_endpoint("", "big", "http://here/v1").identity == "api:big@http://here/v1"
    counts = DryRun(forecasts, contents, work.store).of(forecasts[-2])
    assert counts.samples == 6 and counts.money == 6 * DECODING["max_new_tokens"]


def test_the_price_of_a_score_counts_the_critique_that_is_not_written_yet(make, monkeypatch):
    monkeypatch.setitem(os.environ, PRICES_VARIABLE, '{"m": [1000000, 0]}')
    work = make(section=REVIEW)
    work.sit({"q0"})
    write_records(work.mistakes, _mistakes(work))
    work.ask_teachers()
    work.routing = {"anna": ["bert"], "bert": ["anna"]}
    (one, *_) = read_records(work.rationales, Taught)
    length = len(f"Q: what is 0? R: {one.text} H: gold0\nJ:")
    first = work.counted("peer_review")["peer_review"].money
    assert first >= 2 * (length // 4) + DECODING["max_new_tokens"]


@pytest.mark.parametrize(("size", "expected"), [(None, [None, None]), (7, [7 * 3, 14 * 3])])
def test_a_split_that_is_not_made_yet_is_as_large_as_its_task_says_or_unknown(make, size, expected):
    work = make()
    work.questions.unlink()
    work.questions = work.questions.with_name("train.jsonl")
    spec = {"sizes": {"train": size}, "exemplars": {"count": 0, "written": []}}
    first = Node("questions", Job("questions", {}, {"train": work.questions}, {"spec": spec}), True, "")
    forecasts, contents = forecast_jobs(
        [first, *work.nodes("mistakes", "ask_teachers", "peer_review")[1:]], ArtifactCache(None)
    )
    dry_run = DryRun(forecasts, contents, work.store)
    assert [count.samples for count in map(dry_run.of, forecasts) if count is not None] == expected


@several
@given(st.booleans(), st.integers(1, 3), shares)
def test_sampling_is_counted_with_its_second_calls(make, cue, samples, share):
    work = make()
    spec = {"prompt": TWICE if cue else SOLVE, "decoding": DECODING, "samples": samples}
    inputs = {"questions": work.questions, "exemplars": work.exemplars, "manifest": work.manifest}
    job = Job("sample", inputs, {"completions": work.completions}, {"spec": spec, "sampler": "s"})

    def counts():
        forecasts, contents = forecast_jobs([Node("sample", job, True, "")], ArtifactCache(None))
        return DryRun(forecasts, contents, work.store).of(forecasts[0])

    with contextlib.suppress(RuntimeError) if share < 1 else contextlib.nullcontext():
        sample(QUESTIONS, [], spec, work.model_sampler(share), sampler="s")
    counted, model_sampler = counts(), work.model_sampler()
    sample(QUESTIONS, [], spec, model_sampler, sampler="s")
    assert holds(counted, model_sampler.generated) and (not counted.at_most or samples > 1)
    assert counted.stored + counted.samples >= counts().stored > 0 == counts().samples


def test_repairs_and_searches_never_ask_more_than_their_bound(make, monkeypatch):
    work = make()
    decoding = {**DECODING, "temperature": 0.0}
    repair = {"prompt": "p", "input": "{{ question }} {{ program }} {{ feedback }}"}
    refining = {"prompt": repair, "decoding": decoding, "rounds": 3, "answer": "number"}
    written = [
        Completion(completion_id=one.qid, qid=one.qid, sampler="s", sample_index=0, text="no program",
                   finish_reason="stop", prompt_tokens=0, completion_tokens=0)
        for one in QUESTIONS
    ]  # fmt: skip
    model_sampler = work.model_sampler()
    refine(QUESTIONS, written, [], refining, model_sampler)
    assert model_sampler.requested == most_repairs(refining) * len(QUESTIONS), "they fail in every round"

    class Even:
        def scores(self, questions, prefixes, lines, finished):
            return [1.0 for _ in lines]

    for beams, samples, lines in [(1, 1, 1), (2, 2, 4), (3, 2, 5)]:
        searching = {
            "prompt": SOLVE,
            "decoding": decoding,
            "steps": {"beams": beams, "samples": samples, "max_lines": lines, "lambda": 1.0},
        }
        model_sampler = work.model_sampler()
        search(QUESTIONS, [], searching, model_sampler, Even(), sampler="s")
        assert 0 < model_sampler.requested <= most_lines(searching) * len(QUESTIONS)


def test_a_rehearsal_writes_nothing(make):
    work = make()
    work.sit({"q0"})
    write_records(work.mistakes, _mistakes(work))
    work.counted("ask_teachers", "peer_review")
    assert work.store.series_folders() == [] and not work.rationales.exists()
