"""Teachers and reviewers of a student's mistakes: the prompts, decoding and files of each model of a committee.

Wildcards are those of a committee's files (task, committee, student) in the first part. In the second part they are
those of a recipe with pairs (task, setup, recipe, model, seed). `for_recipe` goes from the second to the first.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from distillery.config.base import plain
from distillery.config.committee import Committee
from distillery.config.committee_checks import routing_of
from distillery.config.workspace import Workspace
from distillery.errors import UserError
from distillery.planning.wiring.paths import fill
from distillery.planning.wiring.source_inputs import reading_of
from distillery.planning.wiring.training_inputs import recipe_of

RELEASED = "released"
"""Student and member of a committee whose exchange a paper released."""


def committee_of(workspace: Workspace, wildcards: Any) -> Committee:
    """The committee of a path."""
    return workspace.committees[wildcards.committee]


def student_completions(workspace: Workspace, wildcards: Any) -> str:
    """Answers of the student to the questions of the train split."""
    return fill("<completions>/completions.jsonl", whose=_student_answers(workspace, wildcards))


def student_verdicts(workspace: Workspace, wildcards: Any) -> str:
    """Verdicts on these answers."""
    return fill("<verdicts>/verdicts.jsonl", whose=_student_answers(workspace, wildcards))


def _student_answers(workspace: Workspace, wildcards: Any) -> str:
    answers = committee_of(workspace, wildcards).student_answers
    assert answers is not None
    return fill("<sampled_student>", wildcards, split="train", sampler=answers.sampler)


def mistake_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Which of the student's answers count as mistakes."""
    return plain(committee_of(workspace, wildcards).student_answers, without={"sampler", "student"})


def mistakes(workspace: Workspace, wildcards: Any) -> str:
    """The student's mistakes."""
    return fill("<committee_folder>/mistakes.jsonl", wildcards)


def all_rationales(workspace: Workspace, wildcards: Any) -> list[str]:
    """Rationales of all teachers: a file for each model."""
    return _written_by_teachers("rationales", workspace, wildcards)


def all_feedback(workspace: Workspace, wildcards: Any) -> list[str]:
    """Feedback of all teachers: a file for each model."""
    return _written_by_teachers("feedback", workspace, wildcards)


def _written_by_teachers(kind: str, workspace: Workspace, wildcards: Any) -> list[str]:
    teachers = committee_of(workspace, wildcards).teachers.values()
    models = sorted({teacher.model for teacher in teachers}) or [RELEASED]
    return [fill(f"<member_folder>/{kind}.jsonl", wildcards, member=model) for model in models]


def all_reviews(workspace: Workspace, wildcards: Any) -> list[str]:
    """Reviews of all models on the panel, and of all people whose filled sheet is named."""
    committee = committee_of(workspace, wildcards)
    models = sorted({committee.model_of_reviewer(name) for name in committee.panel}) or [RELEASED]
    people = sorted(name for name, person in committee.people.items() if person.sheet is not None)
    return [
        *(fill("<member_folder>/reviews.jsonl", wildcards, member=model) for model in models),
        *(fill("<person_folder>/reviews.jsonl", wildcards, person=person) for person in people),
    ]


def answer_checks(workspace: Workspace, wildcards: Any) -> str:
    """Verdicts on the final answers of the teachers' rationales."""
    return fill("<committee_folder>/verdicts.jsonl", wildcards)


def gate_verdicts(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """These verdicts, where only rationales with a right answer are reviewed."""
    gated = committee_of(workspace, wildcards).review.gate == "right"
    return answer_checks(workspace, wildcards) if gated else []


def reference_questions(workspace: Workspace, wildcards: Any) -> str | list[str]:
    """Reference solutions, where reviewers see them."""
    shown = committee_of(workspace, wildcards).review.hint == "reference"
    return fill("<questions>/train.jsonl", wildcards) if shown else []


def teachers_of_member(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Teachers that share a model, by name: prompt and decoding of each for rationales and for feedback."""
    return {
        name: {
            "rationale": {"prompt": plain(workspace.prompts[teacher.rationale]), "decoding": plain(teacher.decoding)},
            "feedback": {
                "prompt": plain(workspace.prompts[teacher.feedback]),
                "decoding": plain(teacher.feedback_decoding or teacher.decoding),
            },
        }
        for name, teacher in sorted(committee_of(workspace, wildcards).teachers.items())
        if teacher.model == wildcards.member
    }


def reviewers_of_member(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Reviewers that share a model, by name, and their prompts."""
    committee = committee_of(workspace, wildcards)
    return {
        name: plain(workspace.prompts[committee.prompt_of_reviewer(name)])
        for name in sorted(committee.panel)
        if committee.model_of_reviewer(name) == wildcards.member
    }


def routing(workspace: Workspace, wildcards: Any) -> dict[str, list[str]]:
    """Teacher -> its reviewers; on a person's sheet also that person."""
    found = routing_of(committee_of(workspace, wildcards), also=getattr(wildcards, "person", None))
    return {author: list(reviewers) for author, reviewers in found.items()}


def review_grader(workspace: Workspace, wildcards: Any) -> str:
    """Grader whose verdict is the gate of the reviews."""
    return committee_of(workspace, wildcards).review.grader


def review_hint(workspace: Workspace, wildcards: Any) -> str:
    """What reviewers see of the right answer."""
    return committee_of(workspace, wildcards).review.hint


def review_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """How models review; prompts, routing and gate are parameters of their own."""
    return plain(committee_of(workspace, wildcards).review, without={"prompt", "at_least", "gate", "grader"})


def rationale_readings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """Teacher -> how its rationales are read; released texts have nothing before their answers."""
    committee = committee_of(workspace, wildcards)
    released = {"form": "text", "delimiter": None, "answer": workspace.tasks[wildcards.task].answer}
    return {
        name: (
            reading_of(workspace, wildcards, workspace.prompts[committee.teachers[name].rationale])
            if committee.teachers
            else released
        )
        for name in committee.names
    }


def filled_sheet(workspace: Workspace, wildcards: Any) -> str:
    """The sheet that a person filled in.

    Raises:
        UserError: The committee names no sheet of this person.
    """
    sheet = committee_of(workspace, wildcards).people[wildcards.person].sheet
    if sheet is None:
        raise UserError(
            "no filled sheet is named",
            file=workspace.files["committees"][wildcards.committee],
            key=f"people.{wildcards.person}.sheet",
            remedy="Name the file that this person returned",
        )
    return sheet.replace("{task}", wildcards.task).replace("{student}", "-".join(Path(wildcards.student).parts))


def released_files(workspace: Workspace, wildcards: Any) -> list[str]:
    """The three files of a released exchange."""
    released = committee_of(workspace, wildcards).released
    assert released is not None
    return [f"{released.folder}/{released.stem}_{kind}_round0.json" for kind in ("false", "feedback", "rationale")]


def released_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """How a released exchange is read."""
    released = committee_of(workspace, wildcards).released
    assert released is not None
    return plain(released, without={"teachers"})


def for_recipe(function: Callable[[Workspace, Any], Any]) -> Callable[[Workspace, Any], Any]:
    """The same question about a committee's files, for the wildcards of a recipe that is taught by it."""

    def about_recipe(workspace: Workspace, wildcards: Any) -> Any:
        return function(workspace, committee_wildcards(workspace, wildcards))

    return about_recipe


def committee_wildcards(workspace: Workspace, wildcards: Any) -> SimpleNamespace:
    """Task, committee and student of the mistakes that the pairs of a recipe are made from."""
    committee = workspace.committee_of(wildcards.recipe, wildcards.setup).committee
    student = workspace.committee_student(wildcards.recipe, wildcards.setup, wildcards.model, int(wildcards.seed))
    return SimpleNamespace(task=wildcards.task, committee=committee, student=student)


def reviews_used(workspace: Workspace, wildcards: Any) -> list[str]:
    """All reviews, where they decide which pairs are taught, or how many."""
    pairs = recipe_of(workspace, wildcards).pairs
    assert pairs is not None
    like = workspace.recipe(pairs.size_of, wildcards.setup).pairs if pairs.size_of else None
    used = pairs.reviewed or (like is not None and like.reviewed)
    return all_reviews(workspace, committee_wildcards(workspace, wildcards)) if used else []


def pair_settings(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """The pairs section of a recipe without what only says whose mistakes are taught."""
    pairs = recipe_of(workspace, wildcards).pairs
    assert pairs is not None
    teachers = workspace.committee_of(wildcards.recipe, wildcards.setup).names
    section = plain(pairs, without={"after", "continues", "round", "size_of", "feedback_prompt"})
    return {**section, "teacher": (pairs.teacher or teachers[0]) if pairs.mode == "single" else None}


def size_matched_rule(workspace: Workspace, wildcards: Any) -> dict[str, Any] | None:
    """The acceptance rule of the recipe that a random drop keeps as many pairs as."""
    pairs = recipe_of(workspace, wildcards).pairs
    assert pairs is not None
    like = workspace.recipe(pairs.size_of, wildcards.setup).pairs if pairs.size_of else None
    return plain(like.accept) if like is not None else None


def acceptance_rule(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """The acceptance rule of a recipe."""
    pairs = recipe_of(workspace, wildcards).pairs
    assert pairs is not None
    return plain(pairs.accept)


def feedback_prompt(workspace: Workspace, wildcards: Any) -> dict[str, Any]:
    """The prompt of training rows that teach feedback."""
    pairs = recipe_of(workspace, wildcards).pairs
    assert pairs is not None
    return plain(workspace.prompts[pairs.feedback_prompt])


def audit_title(workspace: Workspace, wildcards: Any) -> str:
    """Title of an audit page."""
    return f"Peer review of {wildcards.recipe} on {wildcards.task}"


def committee_note(workspace: Workspace, wildcards: Any) -> str | None:
    """What tables and audits say about the committee of a reviewed recipe."""
    pairs = recipe_of(workspace, wildcards).pairs
    reviewed = pairs is not None and pairs.reviewed
    return workspace.committee_of(wildcards.recipe, wildcards.setup).note if reviewed else None


def pair_recipes(workspace: Workspace) -> list[str]:
    """Recipes and variants whose rows are pairs, in any setup."""
    return sorted(
        {name for variants in workspace.variants.values() for name, recipe in variants.items() if recipe.pairs}
    )
