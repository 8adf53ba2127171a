"""Sample a model on the questions of one split, through the completion store."""

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
    """Write one completion record for each question and sample index, and a summary of them."""
    from distillery.files import read_json_lines, write_json
    from distillery.records import Question, read_records, write_records
    from distillery.sampling.sampler import CompletionSampler, sample

    model_sampler = CompletionSampler.of(manifest)
    generated, counts = sample(
        read_records(questions, Question), read_json_lines(exemplars), spec, model_sampler, sampler=sampler
    )
    write_records(completions, generated)
    write_json(summary, counts)
    return model_sampler.report()


run_script("sample", main, globals())
