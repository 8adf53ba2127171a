"""Answer the questions of a split by beam search over the lines of programs."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    exemplars: Path,
    manifest: Path,
    completions: Path,
    summary: Path,
    spec: dict[str, Any],
    sampler: str,
) -> dict[str, Any]:
    """Write the best program of each question, and how many were finished."""
    from distillery.files import read_json_lines, write_json
    from distillery.programs.step_scorers import STEP_SCORERS
    from distillery.programs.step_search import search
    from distillery.records import Question, read_records, write_records
    from distillery.sampling.sampler import CompletionSampler

    model_sampler = CompletionSampler.of(manifest)
    best, counts = search(
        list(read_records(questions, Question)),
        read_json_lines(exemplars),
        spec,
        model_sampler,
        STEP_SCORERS[spec["steps"]["scorer"]](),
        sampler=sampler,
    )
    write_records(completions, best)
    write_json(summary, counts)
    return model_sampler.report()


run_script("search", main, globals())
