"""Ask the teachers of one model for feedback and a rationale on every mistake, through the completion store."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    mistakes: Path,
    exemplars: Path,
    manifest: Path,
    rationales: Path,
    feedback: Path,
    summary: Path,
    teachers: dict[str, Any],
) -> dict[str, Any]:
    """Write the teachers' rationales and feedback.

    Args:
        teachers: Name -> sections `rationale` and `feedback`, each with `prompt` and `decoding`.
    """
    from distillery.files import read_json_lines, write_json
    from distillery.peer_review.ask import ask_teachers, counts_of
    from distillery.peer_review.records import Mistake
    from distillery.records import read_records, write_records
    from distillery.sampling.sampler import CompletionSampler

    model_sampler = CompletionSampler.of(manifest)
    reasoned, remarks = ask_teachers(
        list(read_records(mistakes, Mistake)), read_json_lines(exemplars), teachers, model_sampler
    )
    write_records(rationales, reasoned)
    write_records(feedback, remarks)
    write_json(summary, {"rationales": counts_of(reasoned), "feedback": counts_of(remarks)})
    return model_sampler.report()


run_script("ask_teachers", main, globals())
