"""Compose the training rows of one recipe from gold answers and verified completions."""

from pathlib import Path
from typing import Any

from distillery.jobs.runner import run_script


def main(
    questions: Path,
    exemplars: Path,
    completions: list[Path],
    verdicts: list[Path],
    rows: Path,
    summary: Path,
    sources: dict[str, Any],
    sampled: dict[str, Any],
    prompt: dict[str, Any],
    repair: dict[str, Any] | None,
    seed: int,
) -> None:
    """Write the training rows and how many were kept and dropped.

    Args:
        completions: Completion files, one for each entry of `sampled`, in its order; `verdicts` likewise.
        sources: The recipe's rows sections, by name.
        sampled: Source name -> prompt section of its sampler.
        prompt: The student's prompt section. `repair`: the one that asks it to mend a program.
    """
    from distillery.config.prompt import Prompt
    from distillery.config.recipe import Rows
    from distillery.files import read_json_lines, write_json
    from distillery.records import Completion, Question, Verdict, read_records, write_records
    from distillery.tasks.prompts import REPAIR_FIELDS, Renderer
    from distillery.training.compose import compose
    from distillery.training.sources.common import Sampled

    shown = read_json_lines(exemplars)
    files = zip(sorted(sampled), completions, verdicts, strict=True)
    given = {
        name: Sampled(
            completions=list(read_records(written, Completion)),
            verdicts=list(read_records(judged, Verdict)),
            renderer=Renderer(Prompt.model_validate(sampled[name]), shown),
            path=judged,
        )
        for name, written, judged in files
    }
    composed, counts = compose(
        list(read_records(questions, Question)),
        {name: Rows.model_validate(section) for name, section in sources.items()},
        given,
        Renderer(Prompt.model_validate(prompt), shown),
        seed=seed,
        repair=Renderer(Prompt.model_validate(repair), shown, REPAIR_FIELDS) if repair else None,
    )
    write_records(rows, composed)
    write_json(summary, counts)


run_script("compose", main, globals())
