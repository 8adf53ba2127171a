"""Arithmetic word problems of one to three steps, with a worked solution in plain equations.

Tom has 5 apples. Tom buys 3 bags with 4 apples each. How many apples does Tom have now?  ->  17
    The bags hold 3 * 4 = 12 apples. Tom has 5 + 12 = 17 apples.

Options: `templates` (a list of names, default all), `steps` (the allowed numbers of steps, default [1, 2, 3]),
`max_number` (the largest number to add, default 20; factors stay below 10) and `wordings` (how many of a template's
three common wordings are used, default 3). Answers are whole and positive. Every template has one more wording, which
only test questions use.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from distillery.tasks.generators.draw import Draw, Drawn, OptionError, program_of, whole_number
from distillery.tasks.generators.stories import STORIES, THINGS, Story

OPTIONS = ("templates", "steps", "max_number", "wordings")
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.floordiv,
}


def check(options: Mapping[str, Any]) -> None:
    """Refuse bad values with an OptionError."""
    whole_number(options, "max_number", 20, 5, 1000)
    whole_number(options, "wordings", 3, 1, 3)
    _stories(options)


def generate(draw: Draw, options: Mapping[str, Any]) -> Drawn | None:
    """One question; None if the numbers drawn do not come out whole and positive at every step."""
    stories = _stories(options)
    # Round by round, so that a few exemplars already show different templates.
    rounds = Draw("round", draw.turn // len(stories), seed=draw.seed, pool=draw.pool, turn=draw.turn)
    story = rounds.sample(stories, len(stories))[draw.turn % len(stories)]
    largest = whole_number(options, "max_number", 20, 5, 1000)
    ranges = {"add": (2, largest), "few": (2, 4), "times": (2, min(9, largest)), "total": (4, 3 * largest)}
    numbers = {name: draw.between(*ranges[kind]) for name, kind in story.numbers.items()}
    equations, results = _solve(story, numbers)
    if min(results) < 1:
        return None
    name, other = draw.names(2)
    words = {"name": name, "other": other, "thing": draw.choice(THINGS)}
    common, reserved = range(whole_number(options, "wordings", 3, 1, 3)), [len(story.wordings) - 1]
    wording = draw.choice([*common, *(reserved if draw.pool == "test" else [])])
    says = [say.format(equation, **words) for (_, say), equation in zip(story.steps, equations, strict=True)]
    return Drawn(
        question=story.wordings[wording].format(**words, **numbers),
        gold=str(results[-1]),
        rationale=" ".join(says),
        identity=f"{story.name} {list(numbers.values())}",
        meta={"template": story.name, "steps": len(story.steps), "wording": wording},
        program=_program(story, numbers),
    )


def _program(story: Story, numbers: Mapping[str, int]) -> str:
    """Each number of the question in a variable, each step an assignment, the last one to `result`."""
    steps = [f"s{number} = {expression.replace('/', '//')}" for number, (expression, _) in enumerate(story.steps, 1)]
    steps[-1] = "result" + steps[-1][steps[-1].index(" =") :]
    return program_of(*(f"{name} = {value}" for name, value in numbers.items()), *steps)


def _solve(story: Story, numbers: Mapping[str, int]) -> tuple[list[str], list[int]]:
    """The equation and the result of each step; a result of -1 marks a division with a rest."""
    known, equations, results = dict(numbers), [], []
    for number, (expression, _) in enumerate(story.steps, start=1):
        left, sign, right = expression.split()
        one, other = known[left], known[right]
        whole = sign != "/" or (other > 0 and one % other == 0)
        result = _OPERATORS[sign](one, other) if whole else -1
        known[f"s{number}"] = result
        equations.append(f"{one} {sign} {other} = {result}")
        results.append(result)
    return equations, results


def _stories(options: Mapping[str, Any]) -> list[Story]:
    by_name = {story.name: story for story in STORIES}
    names, steps = options.get("templates", list(by_name)), options.get("steps", [1, 2, 3])
    if not isinstance(names, list) or not names or not set(names) <= set(by_name):
        raise OptionError(
            "not a list of templates", key="templates", value=names, remedy=f"There are {', '.join(by_name)}"
        )
    if not isinstance(steps, list) or not steps or not set(steps) <= {1, 2, 3}:
        raise OptionError("not a list of step counts", key="steps", value=steps, remedy="Use some of [1, 2, 3]")
    chosen = [by_name[name] for name in names if len(by_name[name].steps) in steps]
    if not chosen:
        raise OptionError("no template has this many steps", key="steps", value=steps, remedy="Allow more steps")
    return chosen
