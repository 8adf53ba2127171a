"""Judge every completion of one sampler by its final answer, with every grader of the task."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path, completions: Path, verdicts: Path, summary: Path, graders: dict[str, Any], reading: dict[str, Any]
) -> dict[str, Any]:
    """Write one verdict record for each completion and grader, and the yield per grader."""
    from distillery.config.task import Grader
    from distillery.files import write_json
    from distillery.records import Completion, Question, read_records, write_records
    from distillery.verification.judge import Reading
    from distillery.verification.verify import verify

    judged, counts, work = verify(
        read_records(completions, Completion),
        read_records(questions, Question),
        {name: Grader.model_validate(section) for name, section in graders.items()},
        Reading.model_validate(reading),
    )
    write_records(verdicts, judged)
    write_json(summary, counts)
    return work


run_script("verify", main, globals())
