"""Judge the committee's rationales by their final answers, with every grader of the task."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    rationales: list[Path],
    verdicts: Path,
    summary: Path,
    graders: dict[str, Any],
    readings: dict[str, dict[str, Any]],
) -> None:
    """Write one verdict for each rationale and grader, and each teacher's yield.

    Args:
        readings: Teacher -> how its prompt's texts are read.
    """
    from distillery.config.task import Grader
    from distillery.files import write_json
    from distillery.peer_review.records import Taught, TaughtVerdict
    from distillery.records import Question, read_records, write_records
    from distillery.verification.judge import Reading
    from distillery.verification.verify import verify

    asked = list(read_records(questions, Question))
    rules = {name: Grader.model_validate(section) for name, section in graders.items()}
    written = [rationale for path in rationales for rationale in read_records(path, Taught)]
    judged, counts = [], {}
    for teacher, section in sorted(readings.items()):
        own = [rationale for rationale in written if rationale.sampler == teacher]
        found, counts[teacher], _ = verify(own, asked, rules, Reading.model_validate(section))
        judged += [TaughtVerdict.model_validate(verdict.model_dump()) for verdict in found]
    write_records(verdicts, judged)
    write_json(summary, counts)


run_script("verify_rationales", main, globals())
