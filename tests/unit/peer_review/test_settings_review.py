"""Each field of `StudentAnswers`, `AcceptanceRule`, `Pairs` and `Reviewing` changes what it says, through the scripts.

Fields that only say whose files a job reads are read by rules: `test_settings_in_the_graph.py` has those.
"""

import hashlib
import json

import pytest

from distillery.config.base import plain
from distillery.config.committee import Committee, Reviewing
from distillery.config.committee_checks import routing_of
from distillery.config.prompt import Prompt
from distillery.config.review import AcceptanceRule, Pairs, StudentAnswers
from distillery.errors import UserError

from ..sampling.endpoint import Endpoint
from ..scripts import lines, read_lines, script

IN_THE_GRAPH = {
    StudentAnswers: {"sampler", "student"}, Pairs: {"round", "after", "continues"}, AcceptanceRule: set(),
    Reviewing: set(),
}  # fmt: skip


def draw(seed: int, *what: object) -> str:
    return hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).hexdigest()


def completion(qid: str, author: str, text: str, finish: str = "stop") -> dict:
    return {
        "completion_id": f"{author}-{qid}", "qid": qid, "sampler": author, "sample_index": 0, "text": text,
        "finish_reason": finish, "prompt_tokens": 1, "completion_tokens": 1,
    }  # fmt: skip


def verdict(qid: str, author: str, grader: str, outcome: str, answer: str | None = None) -> dict:
    return {
        "completion_id": f"{author}-{qid}", "qid": qid, "sample_index": 0, "grader": grader, "outcome": outcome,
        "answer": answer, "reason": "r",
    }  # fmt: skip


# Mistakes of the student

ANSWERS = {
    # question -> text, outcome and answer by robust, outcome by paper
    "q0": ("It is 7, so 7.", "wrong", "7", "wrong"),
    "q1": ("It is 4.", "right", "4", "wrong"),
    "q2": ("No idea.", "unparsable", None, "unparsable"),
    "q3": ("It is", "truncated", None, "truncated"),
    "q4": ("9 or 8", "wrong", "9", "right"),
    "q5": ("5!", "wrong", "5", "wrong"),
    "q6": ("6!", "wrong", "6", "wrong"),
}


def mistakes_of(folder, **settings) -> tuple[dict[str, dict], dict]:
    """Mistakes by question, and the counts."""
    questions = [{"qid": qid, "task": "t", "question": f"{qid}?", "gold": "g"} for qid in ANSWERS]
    verdicts = [
        verdict(qid, "student", grader, outcome, answer)
        for qid, (_, robust, answer, paper) in ANSWERS.items()
        for grader, outcome in (("robust", robust), ("paper", paper))
    ]
    script("mistakes").main(
        questions=lines(folder / "questions.jsonl", questions),
        completions=lines(folder / "c.jsonl", [completion(qid, "student", a[0]) for qid, a in ANSWERS.items()]),
        verdicts=lines(folder / "v.jsonl", verdicts),
        mistakes=folder / "mistakes.jsonl",
        summary=folder / "summary.json",
        student_answers=plain(StudentAnswers.model_validate(settings), without={"sampler", "student"}),
    )
    found = read_lines(folder / "mistakes.jsonl")
    return {one["qid"]: one for one in found}, json.loads((folder / "summary.json").read_text())


def answers_grader(folder) -> None:
    assert set(mistakes_of(folder, grader="paper")[0]) == {"q0", "q1", "q5", "q6"}


def answers_unparsable(folder) -> None:
    found, counts = mistakes_of(folder, unparsable="keep")
    assert set(found) == {"q0", "q2", "q4", "q5", "q6"} and counts["not_used"] == {"truncated": 1}


def answers_truncated(folder) -> None:
    found, counts = mistakes_of(folder, truncated="keep")
    assert set(found) == {"q0", "q3", "q4", "q5", "q6"} and counts["not_used"] == {"unparsable": 1}


def answers_cut(folder) -> None:
    assert {one["text"] for one in mistakes_of(folder, cut="answer")[0].values()} == {"It is 7", "9", "5", "6"}


def limited(folder, seed: int, limit: int) -> set[str]:
    found, counts = mistakes_of(folder, limit=limit, seed=seed)
    assert counts["not_used"]["over the limit"] == 4 - limit
    assert set(found) == set(sorted(("q0", "q4", "q5", "q6"), key=lambda qid: draw(seed, "exam", qid))[:limit])
    return set(found)


def answers_limit(folder) -> None:
    assert limited(folder, 0, 1) < limited(folder, 0, 2) < limited(folder, 0, 3)


def answers_seed(folder) -> None:
    assert len({frozenset(limited(folder, seed, 2)) for seed in range(6)}) > 2


# Acceptance and pairs

SCORES = {
    "anna-q0": {"r1": 5, "r2": 4}, "anna-q1": {"r1": 5, "r2": 1}, "anna-q2": {"r1": 4, "r2": None},
    "bert-q0": {"r1": 2, "r2": 2}, "bert-q1": {"r1": 4, "r2": 2, "r3": 4}, "bert-q2": {"r1": 5, "r2": 5},
}  # fmt: skip
"""Means 4.5, 3, 4 (one alone), 2, 3 1/3, 5."""
CHECKED = {"anna-q0": ("wrong", "right"), "bert-q2": ("unparsable", "right"), "bert-q1": ("right", "wrong")}
"""Outcomes by robust and by paper; the others are right."""
ACCEPTED = {"anna-q0", "bert-q1", "bert-q2"}
STUDENT = {"prompt": "p", "input": "Q: {{ question }}", "target": "{{ rationale }}"}
FEEDBACK = {"prompt": "p", "input": "{{ question }} {{ wrong }} {{ gold }}"}


def review(rationale: str, reviewer: str, score: int | None) -> dict:
    author, qid = rationale.split("-")
    return {
        "qid": qid, "author": author, "reviewer": reviewer, "rationale_id": rationale, "review_id": None,
        "protocol": "robust", "score": score, "expected": max(1.0, score - 0.6) if score else None, "path": "p",
        "reason": None if score else "none",
    }  # fmt: skip


def composed(
    folder, like: dict | None = None, seed: int = 0, feedback: dict = FEEDBACK, think: str = "", **pairs
) -> dict:
    """Decisions and aggregates by rationale, and the rows of each question."""
    names = [name.split("-") for name in SCORES]
    reviews = [review(name, reviewer, score) for name, given in SCORES.items() for reviewer, score in given.items()]
    checked = [
        verdict(qid, author, grader, CHECKED.get(f"{author}-{qid}", ("right", "right"))[place])
        for author, qid in names
        for place, grader in enumerate(("robust", "paper"))
    ]
    mistakes = [
        {"qid": f"q{n}", "question": f"{n}?", "gold": f"g{n}", "text": f"w{n}", "answer": "0", "kind": "wrong",
         "completion_id": None}
        for n in range(3)
    ]  # fmt: skip
    section = plain(Pairs.model_validate(pairs), without={"after", "continues", "round", "size_of", "feedback_prompt"})
    script("compose_pairs").main(
        mistakes=lines(folder / "mistakes.jsonl", mistakes),
        exemplars=lines(folder / "exemplars.jsonl", []),
        rationales=[
            lines(folder / "r.jsonl", [completion(qid, author, f"{think}r of {author}") for author, qid in names])
        ],
        feedback=[
            lines(folder / "f.jsonl", [completion(qid, author, f"{think}f of {author}") for author, qid in names])
        ],
        reviews=[lines(folder / "reviews.jsonl", reviews)],
        verdicts=lines(folder / "v.jsonl", checked),
        rows=folder / "rows.jsonl",
        acceptances=folder / "acceptances.jsonl",
        summary=folder / "summary.json",
        pairs=section,
        like=None if like is None else plain(AcceptanceRule.model_validate(like)),
        prompt=plain(Prompt.model_validate(STUDENT)),
        feedback_prompt=plain(Prompt.model_validate(feedback)),
        seed=seed,
    )
    decided = read_lines(folder / "acceptances.jsonl")
    rows: dict[str, dict[str, dict]] = {}
    for row in read_lines(folder / "rows.jsonl"):
        rows.setdefault(row["qid"], {})[row["source"]] = row
    return {
        "accepted": {one["completion_id"] for one in decided if one["decision"] == "accepted"},
        "undecided": {one["completion_id"] for one in decided if one["decision"] == "undecided"},
        "aggregates": {one["completion_id"]: one["aggregate"] for one in decided},
        "rows": rows,
    }


def rule_case(*cases: tuple[dict, set[str]]):
    """Settings of the rule, and the rationales that it accepts."""

    def check(folder) -> None:
        for rule, accepted in cases:
            assert composed(folder, accept=rule)["accepted"] == accepted, rule

    return check


def rule_calibration(folder) -> None:
    """By hand: of r1's six scores 2, 4, 4, 5, 5, 5 a 5 has rank 1 + 4 (3 + 3/2) / 6 = 4; of r2's five a 4 has 3.8."""
    rank = composed(folder, accept={"calibration": "rank"})
    assert rank["accepted"] == {"anna-q0", "bert-q2"} and rank["aggregates"]["anna-q0"] == pytest.approx(3.9)
    z_score = composed(folder, accept={"calibration": "z-score"})
    r1, r2 = 3 + (5 - 25 / 6) / (41 / 36) ** 0.5, 3 + (4 - 2.8) / 2.16**0.5
    assert z_score["aggregates"]["anna-q0"] == pytest.approx((r1 + r2) / 2)


def rule_min_reviews(folder) -> None:
    assert composed(folder, accept={"min_reviews": 1})["accepted"] == ACCEPTED | {"anna-q2"}
    assert composed(folder, accept={"min_reviews": 3})["undecided"] == set(SCORES) - {"bert-q1"}


WEIGHTS = {"aggregate": "weighted", "weights": {"r1": 3.0, "r2": 1.0, "r3": 1.0}}


def rationale_by(made: dict) -> dict[str, str]:
    return {qid: rows["rationale"]["target"].removeprefix("r of ") for qid, rows in made["rows"].items()}


def feedback_by(made: dict) -> dict[str, str]:
    return {qid: rows["feedback"]["target"].removeprefix("f of ") for qid, rows in made["rows"].items()}


def drawn(seed: int, task: str, qid: str) -> str:
    return min(("anna", "bert"), key=lambda author: draw(seed, task, qid, author, 0))


def pairs_mode(folder) -> None:
    assert rationale_by(composed(folder)) == {"q0": "anna", "q1": "bert", "q2": "bert"}
    for seed in range(4):
        free = composed(folder, seed=seed, mode="mixed-unreviewed")
        assert rationale_by(free) == {f"q{n}": drawn(seed, "rationale", f"q{n}") for n in range(3)}
        assert feedback_by(free) == {f"q{n}": drawn(seed, "feedback", f"q{n}") for n in range(3)}


def pairs_teacher(folder) -> None:
    for teacher in ("anna", "bert"):
        made = composed(folder, mode="single", teacher=teacher)
        assert set(rationale_by(made).values()) == set(feedback_by(made).values()) == {teacher}


def pairs_taught(folder) -> None:
    """Under a target that shows the text itself, thinking alone would end without an answer."""
    for settings, target in {
        (): "so\n\nr of anna", ("reasoning",): "so\n\nr of anna", ("answer",): "r of anna",
        ("both",): "<think>\nso\n</think>\n\nr of anna",
    }.items():  # fmt: skip
        made = composed(folder, think="<think>so</think>", **({"taught": settings[0]} if settings else {}))
        assert made["rows"]["q0"]["rationale"]["target"] == target
        assert feedback_by(made)["q0"] == drawn(0, "feedback", "q0"), "of feedback, always the answer"


def pairs_feedback_prompt(folder) -> None:
    prompts = [composed(folder, feedback={"prompt": "p", "input": text})["rows"]["q1"]["feedback"]["prompt"]
               for text in ("{{ wrong }}/{{ gold }}", "{{ question }} {{ wrong }}")]  # fmt: skip
    assert prompts == ["w1/g1", "1? w1"]


def pairs_accept(folder) -> None:
    assert set(composed(folder, accept={"threshold": 4.0})["rows"]) == {"q0", "q2"}


def pairs_size_of(folder) -> None:
    """As many questions as the other recipe's rule accepts something of, drawn."""
    everything = {"accept": {"peers": False}, "size_of": "other"}
    for seed in range(4):
        made = composed(folder, {"threshold": 4.0}, seed, **everything)
        assert set(made["rows"]) == set(sorted(("q0", "q1", "q2"), key=lambda q: draw(seed, "size-matched", q))[:2])


# Reviews


@pytest.fixture
def endpoint(monkeypatch):
    made = Endpoint()
    made.reply = lambda body, text: "4" if "structured_outputs" in body else "Sound, 2 of 3 steps. [5]"
    monkeypatch.setenv("DISTILLERY_API_CONCURRENCY", "1")
    yield made
    made.server.shutdown()
    made.server.server_close()


ASKED = {"prompt": "p", "input": "{{ question }}|{{ rationale }}|{{ hint }}|", "answer_cue": " score ["}


def reviewed(folder, endpoint, section: dict = ASKED, verdicts: bool = False, grader: str = "robust", **settings):
    """Reviews of bert on anna's rationales for q0 and q1, and the request bodies."""
    folder = folder / f"run{len(endpoint.bodies)}"
    folder.mkdir()
    before = len(endpoint.bodies)
    manifest = folder / "manifest.json"
    spec = {"kind": "api", "id": "m", "endpoint": endpoint.url, "key": None}
    script("base_model").main(folder / "model", manifest, spec, "m")
    mistakes = [
        {"qid": f"q{n}", "question": f"{n}?", "gold": f"gold{n}", "text": f"student{n}", "answer": f"student{n}",
         "kind": "wrong", "completion_id": None}
        for n in range(2)
    ]  # fmt: skip
    questions = [
        {"qid": "q0", "task": "t", "question": "0?", "gold": "gold0", "rationale": "worked0"},
        {"qid": "q1", "task": "t", "question": "1?", "gold": "gold1"},
    ]
    checked = [
        verdict("q0", "anna", "robust", "wrong"), verdict("q1", "anna", "robust", "right"),
        verdict("q0", "anna", "paper", "right"), verdict("q1", "anna", "paper", "unparsable"),
    ]  # fmt: skip
    review = Reviewing.model_validate(settings)
    script("peer_review").main(
        mistakes=lines(folder / "mistakes.jsonl", mistakes),
        rationales=[lines(folder / "r.jsonl", [completion(f"q{n}", "anna", f" by her{n}\n") for n in range(2)])],
        manifest=manifest,
        reviews=folder / "reviews.jsonl",
        replies=folder / "replies.jsonl",
        summary=folder / "summary.json",
        reviewers={"bert": plain(Prompt.model_validate(section))},
        routing={"anna": ["bert"]},
        review=plain(review, without={"prompt", "at_least", "gate", "grader"}),
        questions=lines(folder / "questions.jsonl", questions) if review.hint == "reference" else None,
        verdicts=lines(folder / "v.jsonl", checked) if verdicts else None,
        grader=grader,
    )
    return read_lines(folder / "reviews.jsonl"), endpoint.bodies[before:]


@pytest.fixture(autouse=True)
def _store(monkeypatch, tmp_path):
    monkeypatch.setenv("DISTILLERY_STORE", str(tmp_path / "store"))


def review_protocol(folder, endpoint) -> None:
    given, bodies = reviewed(folder, endpoint)
    assert [body["prompt"] for body in bodies] == [
        "0?|by her0|gold0|", "1?|by her1|gold1|", "0?|by her0|gold0|Sound, 2 of 3 steps. [5] score [",
        "1?|by her1|gold1|Sound, 2 of 3 steps. [5] score [",
    ]  # fmt: skip
    assert [body.get("structured_outputs") for body in bodies] == [None] * 2 + [
        {"choice": ["1", "2", "3", "4", "5"]}
    ] * 2
    assert {(body["temperature"], body["max_tokens"]) for body in bodies[2:]} == {(0.0, 1)}
    assert [one["score"] for one in given] == [4, 4]
    given, bodies = reviewed(folder, endpoint, {**ASKED, "input": "paper " + ASKED["input"]}, protocol="paper")
    assert len(bodies) == 2 and [one["score"] for one in given] == [5, 5]


def review_prompt(folder, endpoint) -> None:
    members = {name: {"model": "m", "family": name, "rationale": "r", "feedback": "f"} for name in ("anna", "bert")}
    members["bert"]["review"] = "own"
    made = Committee.model_validate({"committee": "c", "teachers": members, "review": {"prompt": "all"}})
    assert [made.prompt_of_reviewer(name) for name in ("anna", "bert")] == ["all", "own"]
    _, bodies = reviewed(folder, endpoint, {"prompt": "p", "input": "Judge {{ rationale }}"}, protocol="paper")
    assert [body["prompt"] for body in bodies] == ["Judge by her0", "Judge by her1"]


def review_hint(folder, endpoint) -> None:
    shown = {}
    for hint in ("none", "answer", "reference"):
        _, bodies = reviewed(folder, endpoint, {**ASKED, "input": hint + ASKED["input"]}, hint=hint)
        shown[hint] = [body["prompt"].split("|")[2] for body in bodies[:2]]
        assert not any("student" in body["prompt"] for body in bodies), "never what the student wrote"
    assert shown == {"none": ["", ""], "answer": ["gold0", "gold1"], "reference": ["worked0", "gold1"]}


def review_decoding(folder, endpoint) -> None:
    drawn = {"temperature": 0.5, "top_p": 0.8, "top_k": 3, "max_new_tokens": 6, "seed": 1}
    _, bodies = reviewed(folder, endpoint, decoding=drawn)
    sent = [{name: body.get(name) for name in ("temperature", "top_p", "top_k", "max_tokens")} for body in bodies]
    assert sent[0] == sent[1] == {"temperature": 0.5, "top_p": 0.8, "top_k": 3, "max_tokens": 6}
    assert sent[2] == sent[3] == {"temperature": 0.0, "top_p": None, "top_k": None, "max_tokens": 1}


def review_samples(folder, endpoint) -> None:
    given, bodies = reviewed(folder, endpoint, samples=3, decoding={"temperature": 0.5})
    assert [(one["qid"], one["sample_index"]) for one in given] == [(f"q{n}", i) for n in range(2) for i in range(3)]
    critiques = [body for body in bodies if "structured_outputs" not in body]
    assert len(critiques) == 6 and len({body["seed"] for body in critiques}) == 6


def review_gate(folder, endpoint) -> None:
    given, bodies = reviewed(folder, endpoint, verdicts=True)
    assert [one["qid"] for one in given] == ["q1"] and len(bodies) == 2


def review_grader(folder, endpoint) -> None:
    given, _ = reviewed(folder, endpoint, verdicts=True, grader="paper")
    assert [one["qid"] for one in given] == ["q0"]


def review_at_least(folder, endpoint) -> None:
    members = {name: {"model": "m", "family": name, "rationale": "r", "feedback": "f"} for name in ("anna", "bert")}
    for needed, fits in ((1, True), (2, False)):
        made = Committee.model_validate({"committee": "c", "teachers": members, "review": {"at_least": needed}})
        if fits:
            assert routing_of(made) == {"anna": ("bert",), "bert": ("anna",)}
        else:
            with pytest.raises(UserError, match="1 may review it, and 2 are needed"):
                routing_of(made)


CASES = {
    StudentAnswers: {
        "grader": answers_grader, "unparsable": answers_unparsable, "truncated": answers_truncated,
        "cut": answers_cut, "limit": answers_limit, "seed": answers_seed,
    },
    AcceptanceRule: {
        "peers": rule_case(({"peers": False}, set(SCORES))),
        "threshold": rule_case(
            ({"threshold": 4.0}, {"anna-q0", "bert-q2"}), ({"threshold": 1.5}, set(SCORES) - {"anna-q2"})
        ),
        "strict": rule_case(({"strict": False}, ACCEPTED | {"anna-q1"})),
        "aggregate": rule_case(
            ({"aggregate": "median", "threshold": 3.5}, ACCEPTED),
            ({"threshold": 3.5}, ACCEPTED - {"bert-q1"}),
            ({"aggregate": "min"}, {"anna-q0", "bert-q2"}),
        ),
        "weights": rule_case(
            (WEIGHTS, ACCEPTED | {"anna-q1"}),
            ({**WEIGHTS, "weights": {"r1": 1.0, "r2": 3.0, "r3": 1.0}}, {"anna-q0", "bert-q2"}),
        ),
        "value": rule_case(({"value": "expected"}, {"anna-q0", "bert-q2"})),
        "calibration": rule_calibration,
        "min_reviews": rule_min_reviews,
        "gate": rule_case(({"gate": "right"}, {"bert-q1"}), ({"gate": "not-wrong"}, {"bert-q1", "bert-q2"})),
        "grader": rule_case(({"gate": "right", "grader": "paper"}, {"anna-q0", "bert-q2"})),
    },
    Pairs: {
        "mode": pairs_mode, "teacher": pairs_teacher, "feedback_prompt": pairs_feedback_prompt,
        "accept": pairs_accept, "size_of": pairs_size_of, "taught": pairs_taught,
    },
    Reviewing: {
        "protocol": review_protocol, "prompt": review_prompt, "hint": review_hint, "decoding": review_decoding,
        "samples": review_samples, "gate": review_gate, "grader": review_grader, "at_least": review_at_least,
    },
}  # fmt: skip


@pytest.mark.parametrize("record", CASES)
def test_every_field_has_a_case(record):
    assert set(CASES[record]) | IN_THE_GRAPH[record] == set(record.model_fields)


def test_the_defaults_by_hand(tmp_path):
    assert set(mistakes_of(tmp_path)[0]) == {"q0", "q4", "q5", "q6"}
    made = composed(tmp_path)
    assert (made["accepted"], made["undecided"]) == (ACCEPTED, {"anna-q2"})
    assert (
        made["rows"]["q0"]["rationale"]["prompt"] == "Q: 0?" and made["rows"]["q0"]["feedback"]["prompt"] == "0? w0 g0"
    )


@pytest.mark.parametrize(
    ("record", "field"),
    [(record, field) for record, cases in CASES.items() for field in cases if record is not Reviewing],
)
def test_a_field_changes_what_it_says(tmp_path, record, field):
    CASES[record][field](tmp_path)


@pytest.mark.parametrize("field", CASES[Reviewing])
def test_a_field_of_reviewing_changes_what_reviewers_are_sent(tmp_path, endpoint, field):
    CASES[Reviewing][field](tmp_path, endpoint)
