"""Extraction: prose, fences, echoed questions, refusals and double solutions."""

import pytest

from distillery.programs.extract import extract, normalise, without_docstring

PLAIN = "def solution():\n    a = 3\n    result = a * 4\n    return result\n"
OTHER = "def solution():\n    return 5\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"Here is the program:\n\n{PLAIN}",
        f"Here is the program:\n\n{PLAIN}\nThe result is 12, as a = 3.",
        f"```python\n{PLAIN}```",
        f"Sure!\n```py\n{PLAIN}```\nThis returns 12.",
        f"```\n{PLAIN}",
        f"~~~\n{PLAIN}~~~",
        f"First try:\n```\nx = 1\n```\nThen:\n```python\n{PLAIN}```",
        f"```python\n{PLAIN}```\nAgain, the same:\n```python\n{PLAIN}```",
        PLAIN.replace("\n", "\r\n"),
        "  " + PLAIN.replace("\n", "\n  ").rstrip(" "),
        f'Solution:\n{PLAIN}\n\nprint("done") is not needed.',
    ],
)
def test_prose_and_fences_around_a_program_go(text):
    assert normalise(extract(text).program) == normalise(PLAIN)
    assert extract(text).problem is None


def test_what_a_program_needs_comes_along():
    text = f"The program:\nimport math\n\n# half of it\ndef half(x):\n    return x / 2\n\n{OTHER}\nDone."
    assert extract(text).program == f"import math\n\n# half of it\ndef half(x):\n    return x / 2\n\n{OTHER}"
    inside = f"```python\nimport math\n\n{OTHER}\nRATE = 2\n```"
    assert extract(inside).program == f"import math\n\n{OTHER}\nRATE = 2\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("As an AI language model, I cannot do that.", "refused"),
        ("Sorry, there is not enough information.", "refused"),
        ("Please provide more details.", "refused"),
        ("The answer is 12.", "no_program"),
        ("", "no_program"),
        ("solution = lambda: 12", "no_program"),
        ("class solution:\n    pass", "no_program"),
        ("def answer():\n    return 12", "no_program"),
        (f"{PLAIN}\n\n{OTHER}", "two_solutions"),
        (f"For Ann:\n{PLAIN}\nFor Bob:\n{OTHER}", "two_solutions"),
        (f"```\n{PLAIN}```\nor\n```\n{OTHER}```", "two_solutions"),
        (f"{'word ' * 20_000}{PLAIN}", "too_long"),
    ],
)
def test_what_is_not_one_program_has_a_named_problem(text, problem):
    assert (extract(text).program, extract(text).problem) == (None, problem)


def test_a_broken_program_is_a_program():
    cut = "def solution():\n    a = 3\n    result =\n"
    assert extract(cut).program == cut
    assert extract(f"Here:\n{cut}").program == cut


@pytest.mark.parametrize(
    "question",
    ["How many?", 'She says "four" twice. How many?', "One.\n    Two, broken\n    over lines?", "Kostet es 5 \u20ac?"],
)
def test_an_echoed_question_is_removed_whatever_quotes_it_holds(question):
    quotes = '"""' if not question.endswith('"') else "'''"
    text = PLAIN.replace("():\n", f"():\n    {quotes}{question}{quotes}\n")
    assert extract(text).program == PLAIN


def test_strings_that_are_no_docstring_stay():
    text = 'def solution():\n    a = """Not a\n    docstring"""\n    return a\n'
    assert without_docstring(text) == text
    assert without_docstring('def solution():\n    "only this"\n') == 'def solution():\n    "only this"\n'
    assert without_docstring('def solution(): "this"; return 1\n') == 'def solution(): "this"; return 1\n'


def test_layout_comments_and_docstrings_make_no_new_program():
    spaced = 'def solution( ):\n\n  """Question?"""\n  a=3 # three\n  result = (a*4)\n  return result'
    assert normalise(spaced) == normalise(PLAIN)
    assert normalise(OTHER) != normalise(PLAIN)
    assert normalise("not a program  \n") == "not a program"


def test_hostile_text_is_only_text():
    for text in (
        "def solution(" * 5000,
        "```\n" * 10_000,
        "\0def solution():\n return 1",
        "def solution():\n return " + "-" * 9000,
    ):
        extract(text)
