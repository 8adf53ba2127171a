"""MAPD's released exchange between a student and its three teachers (arXiv 2410.03663).

    {student}_{data}_false_round0.json       the student's mistakes on the train split
    {student}_{data}_feedback_round0.json    the same, with a feedback of each teacher
    {student}_{data}_rationale_round0.json   the same, with a rationale of each teacher and two review scores for each

Files are joined by `id`, the position in the train split, never by the order of the rows. Questions are named as
`distillery.tasks` names them, `{task}-train-{id:05d}`. Texts are kept byte for byte. Scores are kept as released. Some
are off the scale (83 and 0): such a review has no score, and `raw` keeps the released value. The reviewers' texts and
the token counts were not released; the counts are 0 here.

Source: zhuochunli/Learn-from-Committee (MIT), folder data, commit 60abfaf; MAPD (arXiv 2410.03663).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distillery.config.review import AcceptanceRule
from distillery.errors import UserError
from distillery.files import sha256_file
from distillery.peer_review.acceptance import decide
from distillery.peer_review.records import Decision, Mistake, Review
from distillery.peer_review.scores import on_scale
from distillery.records import Completion, FinishReason, Question
from distillery.tasks.released.common import FETCH, read_release, reads_release, replayed_id

PAPER = AcceptanceRule(threshold=3.0, strict=True, aggregate="mean", min_reviews=1, gate="none")
"""MAPD's rule as its public code has it."""


class Exchange(NamedTuple):
    """The content of one data set's files."""

    questions: list[Question]
    mistakes: list[Mistake]
    feedback: list[Completion]
    rationales: list[Completion]
    reviews: list[Review]
    accepted: frozenset[str]
    """`completion_id` of the rationales that the release lists as accepted, to compare decisions with."""


TEACHERS = ("gpt", "gemini", "mistral")
"""As the files' keys name gpt-3.5-turbo, gemini-1.0-pro and Mixtral-8x7B-Instruct. Scores of a rationale are in this
order, without its author."""

SHA256 = {
    "Llama-2-7b-chat-hf_strategyQA_false_round0.json": (
        "754be8bd368ed18611ec5c06d872f575594f1a737e7a4e6d00a9e1914b267968"
    ),
    "Llama-2-7b-chat-hf_svamp_false_round0.json": "cdbe08dfa87853135a0d378fd117f628fa5fd63e3f2b3b3590d51c7a0427bb16",
    "Llama-2-7b-chat-hf_svamp_feedback_round0.json": "b0b302c8d2bbcc5e9f79992aca84b400313c62a24a500a465cb694ab72d8da71",
    "Llama-2-7b-chat-hf_svamp_rationale_round0.json": (
        "5b8eae481ded9eafce622e7ab4eaf283d9c2b9b13494561fcdc6814a91a4b8e9"
    ),
}
"""Digests of the released files; those of GSM8K and LogiQA are unknown."""

KEYS = {
    "id": "id",
    "question": "question",
    "gold": "gold_answer",
    "text": "student_wrong_pred",
    "answer": "student_wrong_final_answer",
}
"""What the files call the fields of a mistake; other data sets may need other names."""

_NO_ANSWER = "absolute_wrong_final_ans"
"""Stands for a parse failure; upper case in the SVAMP files."""


@reads_release
def mapd_mistakes(
    path: Path,
    task: str,
    questions: Iterable[Question] | None = None,
    *,
    keys: Mapping[str, str] = KEYS,
    checked: bool = True,
) -> tuple[list[Question], list[Mistake]]:
    """The questions and mistakes of a released file, in the order of the file.

    Args:
        path: Any of the three files.
        task: Name for the question ids.
        questions: The task's train questions; text and gold answer must be theirs. None: they are made from the file.
        keys: What the file calls the fields.
        checked: Whether the file must be the released one, by its checksum.

    Raises:
        UserError: The file is not the released one, lacks a key or names an id twice; or a question differs.
    """
    rows = _rows(path, keys, checked)
    given = None if questions is None else {question.qid: question for question in questions}
    found, mistakes = [], []
    for number, row in rows.items():
        question = _question(task, number, row, keys)
        if given is not None:
            known = given.get(question.qid)
            if known is None or (known.question, known.gold) != (question.question, question.gold):
                raise UserError(
                    "question or gold answer is not that of the task",
                    file=path,
                    key=f"id {number}",
                    value=question.question,
                    remedy="Read the train split that the release was made with; ids are positions in it",
                )
            question = known
        answer = row[keys["answer"]]
        parsed = answer.casefold() != _NO_ANSWER
        found.append(question)
        mistakes.append(
            Mistake(
                qid=question.qid,
                question=question.question,
                gold=question.gold,
                text=row[keys["text"]],
                answer=answer if parsed else None,
                kind="wrong" if parsed else "unparsable",
                completion_id=None,
            )
        )
    return found, mistakes


@reads_release
def mapd_exchange(
    folder: Path,
    task: str,
    questions: Iterable[Question] | None = None,
    *,
    stem: str = "Llama-2-7b-chat-hf_svamp",
    keys: Mapping[str, str] = KEYS,
    checked: bool = True,
) -> Exchange:
    """Mistakes, feedback, rationales and reviews of a data set whose three files were released (SVAMP).

    Args:
        folder: Of the files.
        task: Name for the question ids.
        questions: As for `mapd_mistakes`.
        stem: Beginning of the files' names.
        keys: As for `mapd_mistakes`.
        checked: As for `mapd_mistakes`.

    Raises:
        UserError: As for `mapd_mistakes`; or two files hold different mistakes, or a rationale has no two scores.
    """
    paths = {kind: folder / f"{stem}_{kind}_round0.json" for kind in ("false", "feedback", "rationale")}
    found, mistakes = mapd_mistakes(paths["false"], task, questions, keys=keys, checked=checked)
    base = _rows(paths["false"], keys, checked)
    remarks = _joined(paths["feedback"], base, keys, checked)
    reasoned = _joined(paths["rationale"], base, keys, checked)
    feedback, rationales, reviews, accepted = [], [], [], set()
    for number in base:
        qid = _qid(task, number)
        feedback += [_completion("feedback", name, qid, remarks[number][f"{name}_feedback"]) for name in TEACHERS]
        for author in TEACHERS:
            text, scores = _scored(reasoned[number], author, paths["rationale"], number)
            rationale = _completion("rationale", author, qid, text)
            rationales.append(rationale)
            reviewers = [name for name in TEACHERS if name != author]
            if text is not None:  # no reviewer has read a null rationale, although it has scores
                reviews += [_review(rationale, name, raw) for name, raw in zip(reviewers, scores, strict=True)]
            if text in reasoned[number]["correct_rationale"]:
                accepted.add(rationale.completion_id)
    return Exchange(found, mistakes, feedback, rationales, reviews, frozenset(accepted))


def _rows(path: Path, keys: Mapping[str, str], checked: bool) -> dict[int, dict[str, Any]]:
    """Rows of a file by id."""
    if checked:
        _is_released(path)
    array = read_release(path)
    if not isinstance(array, list):
        raise UserError("not a JSON array", file=path, remedy=FETCH)
    rows: dict[int, dict[str, Any]] = {}
    for place, row in enumerate(array):
        if not isinstance(row, dict):
            raise UserError("not a JSON object", file=path, key=f"row {place}", remedy=FETCH)
        missing = [key for key in keys.values() if key not in row]
        if missing:
            raise UserError(
                f"there is no {', '.join(missing)}",
                file=path,
                key=f"row {place}",
                remedy="Say in `keys` what this file calls the fields",
            )
        number = row[keys["id"]]
        if number in rows:
            raise UserError("two rows have this id", file=path, key=f"row {place}, id", value=number, remedy=FETCH)
        rows[number] = row
    return rows


def _is_released(path: Path) -> None:
    if path.name not in SHA256:
        raise UserError(
            "no checksum is known for this file",
            file=path,
            remedy="Give the released file its name, or read it unchecked",
        )
    if sha256_file(path) != SHA256[path.name]:
        raise UserError("not the released file: its checksum differs", file=path, key="sha256", remedy=FETCH)


def _joined(path: Path, base: Mapping[int, Any], keys: Mapping[str, str], checked: bool) -> dict[int, dict[str, Any]]:
    rows = _rows(path, keys, checked)
    for number in base.keys() | rows.keys():
        if any(base.get(number, {}).get(key) != rows.get(number, {}).get(key) for key in keys.values()):
            raise UserError("the files hold different mistakes", file=path, key=f"id {number}", remedy=FETCH)
    return rows


def _qid(task: str, number: int) -> str:
    return f"{task}-train-{number:05d}"


def _question(task: str, number: int, row: Mapping[str, Any], keys: Mapping[str, str]) -> Question:
    """StrategyQA puts its facts behind the answer: `false.`, a tab, the facts."""
    gold, _, facts = row[keys["gold"]].partition("\t")
    meta = {"row": number, "facts": facts} if facts else {"row": number}
    return Question(
        qid=_qid(task, number), task=task, question=row[keys["question"]], gold=gold.removesuffix("."), meta=meta
    )


def _scored(row: Mapping[str, Any], author: str, path: Path, number: int) -> tuple[str | None, Sequence[int]]:
    text, *scores = row[f"{author}_rationale"]
    if len(scores) != len(TEACHERS) - 1 or not all(type(score) is int for score in scores):
        raise UserError(
            f"{len(scores)} scores, and {len(TEACHERS) - 1} whole numbers are wanted",
            file=path,
            key=f"id {number}, {author}_rationale",
            value=scores,
            remedy=FETCH,
        )
    return text, scores


def _review(rationale: Completion, reviewer: str, raw: int) -> Review:
    parsed = on_scale(raw, str(raw), "released score")
    return Review(
        qid=rationale.qid,
        author=rationale.sampler,
        reviewer=reviewer,
        rationale_id=rationale.completion_id,
        review_id=None,
        protocol="released",
        score=parsed.score,
        raw=parsed.raw,
        path=parsed.path,
        reason=parsed.reason,
    )


def _completion(kind: str, teacher: str, qid: str, text: str | None) -> Completion:
    """A teacher's text; where the release has null, a call that failed."""
    finish_reason: FinishReason = "failed" if text is None else "stop"
    return Completion(
        completion_id=replayed_id("mapd", kind, teacher, qid, text),
        qid=qid,
        sampler=teacher,
        sample_index=0,
        text=text or "",
        finish_reason=finish_reason,
        prompt_tokens=0,
        completion_tokens=0,
    )


def golden(exchange: Exchange) -> dict[str, Any]:
    """Counts of an exchange under the published rule, and whether that rule gives the released list of acceptances."""
    decided, counts = decide(exchange.rationales, exchange.reviews, [], PAPER)
    accepted = {acceptance.completion_id for acceptance in decided if acceptance.decision == Decision.ACCEPTED}
    return {
        "mistakes": len(exchange.mistakes),
        "unparsable": sum(mistake.kind == "unparsable" for mistake in exchange.mistakes),
        "rationales": len(exchange.rationales),
        "reviews": len(exchange.reviews),
        "reviews_without_score": sum(review.score is None for review in exchange.reviews),
        "accepted": len(accepted),
        "questions_with_accepted": counts["questions_with_accepted"],
        "accepted_per_question": counts["accepted_per_question"],
        "released_list_reproduced": accepted == exchange.accepted,
    }


def as_task(exchange: Exchange, questions: Sequence[Question], file: Path) -> Exchange:
    """The exchange under the ids of a task's train questions, which are found by their text.

    Raises:
        UserError: A question of the exchange is not among the task's train questions, or has another gold answer there.
    """
    known = {_same(question.question): question for question in questions}
    ids: dict[str, Question] = {}
    taken: set[str] = set()
    for question in exchange.questions:
        own = known.get(_same(question.question))
        if own is None or _number(own.gold) != _number(question.gold):
            raise UserError(
                "the task's train split lacks this question, or has another gold answer",
                file=file,
                key=question.qid,
                value=question.question,
                remedy="Declare a task whose train split holds the questions of the release",
            )
        if own.qid in taken:
            problem = "two questions of the release are this one of the task"
            raise UserError(problem, file=file, key=question.qid, value=question.question, remedy=FETCH)
        ids[question.qid] = own
        taken.add(own.qid)
    return exchange._replace(
        questions=[ids[question.qid] for question in exchange.questions],
        mistakes=[
            mistake.model_copy(update={"qid": own.qid, "question": own.question, "gold": own.gold})
            for mistake in exchange.mistakes
            for own in [ids[mistake.qid]]
        ],
        feedback=[completion.model_copy(update={"qid": ids[completion.qid].qid}) for completion in exchange.feedback],
        rationales=[
            completion.model_copy(update={"qid": ids[completion.qid].qid}) for completion in exchange.rationales
        ],
        reviews=[review.model_copy(update={"qid": ids[review.qid].qid}) for review in exchange.reviews],
    )


def _same(text: str) -> str:
    """A question without the differences between two copies of a data set: case and white space."""
    return " ".join(text.casefold().split())


def _number(text: str) -> float | str:
    """Two copies of SVAMP write 145 and 145.0."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return text.strip().casefold()
