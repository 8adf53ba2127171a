"""Let a student mend its programs that fail visibly, for some rounds."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    exemplars: Path,
    predictions: Path,
    manifest: Path,
    refined: Path,
    rounds: Path,
    summary: Path,
    spec: dict[str, Any],
) -> dict[str, Any]:
    """Write the last version of every prediction, all versions, and how many failed in each round."""
    from distillery.files import read_json_lines, write_json
    from distillery.programs.self_refinement import refine
    from distillery.records import Completion, Question, read_records, write_records
    from distillery.sampling.sampler import CompletionSampler

    model_sampler = CompletionSampler.of(manifest)
    last, drafts, counts = refine(
        list(read_records(questions, Question)),
        list(read_records(predictions, Completion)),
        read_json_lines(exemplars),
        spec,
        model_sampler,
    )
    write_records(refined, last)
    write_records(rounds, drafts)
    write_json(summary, counts)
    return model_sampler.report()


run_script("refine", main, globals())
