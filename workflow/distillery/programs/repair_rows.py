"""Rows that teach repair: a program that works, an error put into it, and the program again as the target.

A row is kept only if running the wrong program really raises the wanted error, and its feedback is what that run said.
`injection: paper` keeps the released code's behaviour: errors unchecked, feedback empty.

Source: PaD specification, sections 3.2 and 3.3.
"""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from distillery.config.recipe import ErrorClass, Rows
from distillery.hashing import draw_key
from distillery.programs.feedback import needs_refinement
from distillery.programs.injection import confirmed, inject, printed
from distillery.programs.run import run_programs
from distillery.programs.syntax import Unparsable
from distillery.records import Completion, Question, TrainingRow
from distillery.tasks.prompts import Renderer

SILENT = "The program runs, and a step of it is wrong."
"""Feedback for an operand swap, which raises nothing."""


class _Wrong(NamedTuple):
    question: Question
    completion: Completion
    number: int
    error_class: ErrorClass
    program: str
    target: str


def repair_rows(
    programs: Sequence[tuple[Question, Completion, str]], name: str, source: Rows, prompt: Renderer, seed: int
) -> tuple[list[TrainingRow], Counter[str]]:
    """For each program, `source.injections` wrong versions of different classes, drawn by key.

    Returns:
        The rows, and how many wrong versions were not made or did not raise what they should.
    """
    dropped: Counter[str] = Counter()
    wrong: list[_Wrong] = []
    for question, completion, program in programs:
        try:
            target = printed(program)
        except Unparsable as fault:
            dropped[f"not printable: {fault.rule}"] += 1
            continue
        drawn = sorted(source.inject, key=lambda error: draw_key(seed, f"inject {error}", completion.completion_id, 0))
        for number, error_class in enumerate(drawn[: source.injections]):
            key = draw_key(seed, f"place {error_class}", completion.completion_id, 0)
            text = inject(program, error_class, random.Random(str(key)), source.injection)
            if text is None:
                dropped[f"no place for {error_class}"] += 1
            else:
                wrong.append(_Wrong(question, completion, number, error_class, text, target))
    runs, _ = run_programs([version.program for version in wrong])
    clean, _ = run_programs([version.target for version in wrong])
    rows = []
    for version, run, before in zip(wrong, runs, clean, strict=True):
        if source.injection == "repaired" and not confirmed(run, version.error_class, before):
            dropped[f"{version.error_class} not raised"] += 1
            continue
        if source.injection == "paper":
            feedback = ""
        elif version.error_class == "operand_swap":
            feedback = SILENT
        else:
            feedback = needs_refinement(run, "number") or SILENT
        rows.append(
            TrainingRow(
                qid=version.question.qid,
                source=name,
                sample_index=version.completion.sample_index * len(source.inject) + version.number,
                completion_id=version.completion.completion_id,
                prompt=prompt.input(version.question.question, program=version.program, feedback=feedback),
                target=_target(prompt, version),
            )
        )
    return rows, dropped


def _target(prompt: Renderer, one: _Wrong) -> str:
    return prompt.target(one.target, one.question.gold, one.question.question)
