"""Make the questions of one task: three splits and the worked examples, checked before anything is spent on them."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    train: Path,
    dev: Path,
    test: Path,
    exemplars: Path,
    summary: Path,
    spec: dict[str, Any],
    files: list[Path] | None = None,
) -> None:
    """Write the splits, the exemplars and a summary of the task in `spec`; `files` are its local sources."""
    from distillery.config.task import Task
    from distillery.files import atomic_open, write_json
    from distillery.hashing import canonical_json
    from distillery.records import write_records
    from distillery.tasks.questions import build_task, summarise

    task = Task.model_validate({"title": spec["task"], **spec})  # titles are for tables: a new one makes nothing stale
    made = build_task(task, downloads=Path(os.environ.get("DISTILLERY_DOWNLOADS", "downloads")))
    for path, questions in ((train, made.train), (dev, made.dev), (test, made.test)):
        write_records(path, questions)
    with atomic_open(exemplars) as out:
        for exemplar in made.exemplars:
            out.write(canonical_json(asdict(exemplar)) + "\n")
    write_json(summary, summarise(task, made))


run_script("questions", main, globals())
