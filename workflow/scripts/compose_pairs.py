"""Decide which rationales are accepted, and compose the training pairs of feedback and rationale."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    mistakes: Path,
    exemplars: Path,
    rationales: list[Path],
    feedback: list[Path],
    reviews: list[Path],
    verdicts: Path,
    rows: Path,
    acceptances: Path,
    summary: Path,
    pairs: dict[str, Any],
    like: dict[str, Any] | None,
    prompt: dict[str, Any],
    feedback_prompt: dict[str, Any],
    seed: int,
) -> None:
    """Write the rows of both tasks, every decision, and counts that add up. No model is needed.

    Args:
        pairs: The recipe's section; `like`: the acceptance rule whose number of questions a random choice matches.
        prompt: The student's prompt; `feedback_prompt`: the input of feedback rows.
    """
    from distillery.config.prompt import Prompt
    from distillery.config.review import AcceptanceRule, Pairs
    from distillery.files import read_json_lines, write_json
    from distillery.peer_review.acceptance import decide, size_matched, summarise
    from distillery.peer_review.records import Mistake, Review, Taught
    from distillery.peer_review.training_pairs import pair_rows
    from distillery.records import Verdict, read_records, write_records
    from distillery.tasks.prompts import Renderer

    section = Pairs.model_validate(pairs)
    reasoned = [rationale for path in rationales for rationale in read_records(path, Taught)]
    remarks = [remark for path in feedback for remark in read_records(path, Taught)]
    given = [review for path in reviews for review in read_records(path, Review)]
    checked = list(read_records(verdicts, Verdict))
    decided, _ = decide(reasoned, given, checked, section.accept)
    if like is not None:
        rule = AcceptanceRule.model_validate(like)
        decided = size_matched(decided, decide(reasoned, given, checked, rule)[0], seed)
    renderer = Renderer(Prompt.model_validate(feedback_prompt), [], fields=("wrong", "gold"))
    composed, counts = pair_rows(
        list(read_records(mistakes, Mistake)),
        remarks,
        reasoned,
        decided,
        mode=section.mode,
        teacher=section.teacher,
        taught=section.taught,
        feedback_input=lambda mistake: renderer.input(mistake.question, wrong=mistake.text.strip(), gold=mistake.gold),
        student=Renderer(Prompt.model_validate(prompt), read_json_lines(exemplars)),
        seed=seed,
    )
    write_records(rows, composed)
    write_records(acceptances, decided)
    used = len(reasoned) + len(remarks)
    write_json(
        summary, {"training_rows": len(composed), "samples_used": used, **counts, "acceptance": summarise(decided)}
    )


run_script("compose_pairs", main, globals())
