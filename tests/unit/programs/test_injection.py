"""Error injection: deterministic, printed alike on both sides, and confirmed by running it."""

import ast
import difflib
import random

import pytest

from distillery.errors import UserError
from distillery.programs.execution import Execution, RunOutcome
from distillery.programs.injection import ERROR_CLASSES, confirmed, inject, printed
from distillery.programs.sandbox import Sandbox

PROGRAM = """def solution():
    # what Ann has
    apples = 20
    eaten = apples * 3  # three a day
    morning, noon = 15, 25
    left = eaten - morning - noon
    if left < 0:
        left = 0
    result = left
    return result
"""
CLASSES = [one for one in ERROR_CLASSES if one != "operand_swap"]


@pytest.fixture(scope="module")
def box():
    try:
        with Sandbox(workers=1) as one:
            yield one
    except UserError as error:
        pytest.skip(str(error))


def run(box, program):
    return next(iter(box.run([program])))


@pytest.mark.parametrize("injection", ["paper", "repaired"])
@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_equal_seeds_give_equal_programs(error_class, injection):
    made = {inject(PROGRAM, error_class, random.Random(5), injection) for _ in range(3)}
    assert len(made) == 1


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_repaired_injection_raises_its_class(error_class, box):
    made = {inject(PROGRAM, error_class, random.Random(seed)) for seed in range(25)}
    assert len(made) >= 3
    assert all(confirmed(run(box, program), error_class) for program in made)


def test_a_swapped_operand_is_wrong_in_silence(box):
    clean = run(box, printed(PROGRAM))
    runs = [run(box, inject(PROGRAM, "operand_swap", random.Random(seed))) for seed in range(10)]
    assert clean.value == "20"
    assert {one.outcome for one in runs} == {RunOutcome.OK}
    assert any(confirmed(one, "operand_swap", clean) for one in runs)
    assert not confirmed(clean, "operand_swap", clean)


@pytest.mark.parametrize(
    ("error_class", "label", "keeps"),
    [
        ("name_error", "exception:NameError", True),
        ("unbound_local_error", "exception:UnboundLocalError", True),
        ("syntax_error", "ok", False),  # the released `syntax error` is a string that is returned
    ],
)
def test_the_published_injection_is_reproduced(error_class, label, keeps, box):
    execution = run(box, inject(PROGRAM, error_class, random.Random(1), "paper"))
    assert execution.label == label
    assert confirmed(execution, error_class) == keeps


@pytest.mark.parametrize("name", ["a", "i", "pas"])
def test_a_misspelt_name_is_never_a_keyword(name):
    """`a` and an s is `as`: the program would not parse, and its row would be dropped."""
    program = f"def solution():\n    {name} = 4\n    return {name} * 2\n"
    made = {inject(program, "name_error", random.Random(seed), "repaired") for seed in range(60)}
    assert len(made) > 3
    for text in made:
        ast.parse(text)


def test_the_published_name_error_renames_stores_and_keeps_loads():
    text = inject(PROGRAM, "name_error", random.Random(1), "paper")
    assert text.count("undefined_var_") == 7
    assert "return result" in text
    assert inject(PROGRAM, "operand_swap", random.Random(1), "paper") is None


@pytest.mark.parametrize("error_class", ERROR_CLASSES)
def test_the_difference_to_the_target_is_the_injection_only(error_class):
    for seed in range(10):
        wrong = inject(PROGRAM, error_class, random.Random(seed))
        lines = list(difflib.ndiff(printed(PROGRAM).splitlines(), wrong.splitlines()))
        assert sum(line.startswith(("+ ", "- ")) for line in lines) <= 2


@pytest.mark.parametrize("program", ["def solution():\n    return 5\n", "x = 1\n", "def solution(:\n", ""])
def test_a_program_without_a_place_for_an_error_gives_none(program):
    for error_class in ("name_error", "unbound_local_error", "operand_swap"):
        assert inject(program, error_class, random.Random(0)) is None


def test_only_the_wanted_class_confirms():
    unbound = Execution(RunOutcome.EXCEPTION, "UnboundLocalError")
    assert confirmed(unbound, "unbound_local_error") and not confirmed(unbound, "name_error")
    assert not confirmed(
        Execution(RunOutcome.EXCEPTION, "SyntaxError"), "syntax_error"
    )  # raised by running, not parsing
    with pytest.raises(ValueError, match="clean"):
        confirmed(unbound, "operand_swap")
