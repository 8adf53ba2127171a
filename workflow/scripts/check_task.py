"""Check that every gold answer of a task passes its own graders, before a model is asked anything."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(splits: list[Path], test: Path, exemplars: Path, checked: Path, spec: dict[str, Any]) -> None:
    """Write what was checked, and what guessing would score on the test split (0 to 1; None for free text)."""
    from distillery.config.task import Task
    from distillery.files import read_json_lines, write_json
    from distillery.records import Question, read_records
    from distillery.verification.gold_check import check_gold, random_guess

    task = Task.model_validate({"title": spec["task"], **spec})
    questions = [question for path in splits for question in read_records(path, Question)]
    shown = read_json_lines(exemplars)
    check_gold(task, questions, shown)
    guess = random_guess(task, read_records(test, Question))
    write_json(checked, {"questions": len(questions), "exemplars": len(shown), "random_guess": guess})


run_script("check_task", main, globals())
