"""Cross-checks of committees and of the recipes that they teach: who is named, who may review whom.

Nobody reviews itself. Models of one family do not review each other either, unless the pair is allowed by name: judges
prefer text of their own family (arXiv 2404.13076). The order of the reviewers is the order in which they are given.

>>> routes({"gpt": "gpt", "gemini": "gemini", "mistral": "mistral"})["gemini"]
('gpt', 'mistral')
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from distillery.config.committee import Committee
from distillery.config.names import named
from distillery.config.recipe import Recipe
from distillery.errors import UserError, UserErrors

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def check_committee(workspace: "Workspace") -> Iterator[UserError]:
    """Names in committees, and whether every teacher has reviewers."""
    for name, committee in workspace.committees.items():
        file = workspace.files["committees"][name]
        yield from _exam(workspace, committee, file)
        for member, teacher in committee.teachers.items():
            yield from named(workspace, "models", teacher.model, file, f"teachers.{member}.model")
            for key in ("rationale", "feedback"):
                yield from named(workspace, "prompts", getattr(teacher, key), file, f"teachers.{member}.{key}")
        for member, reviewer in committee.reviewers.items():
            yield from named(workspace, "models", reviewer.model, file, f"reviewers.{member}.model")
        if committee.released is not None:
            continue
        for member in committee.panel:
            yield from named(workspace, "prompts", committee.prompt_of_reviewer(member), file, f"review of {member}")
        try:
            routing_of(committee)
        except UserErrors as faults:
            for fault in faults.errors:
                yield UserError(fault.problem, file=file, key=fault.key, value=fault.value, remedy=fault.remedy)


def routing_of(committee: Committee, also: str | None = None) -> dict[str, tuple[str, ...]]:
    """Who reviews whom: models, and people whose sheet is named (or the one of `also`). Teachers in the file's order.

    Raises:
        UserErrors: A teacher has too few reviewers, or an allowed pair cannot be.
    """
    people = {name: f"person {name}" for name, one in committee.people.items() if one.sheet is not None or name == also}
    models = {} if committee.released is not None else committee.panel
    return routes(
        committee.families,
        reviewers=models | people,
        allow=committee.same_family,
        at_least=committee.review.at_least if committee.released is None else 0,
    )


def check_pairs(workspace: "Workspace", known: Mapping[str, Recipe], recipe: Recipe, file: str) -> Iterator[UserError]:
    """Names in the pairs section of a recipe; `known` are the recipes of its setup."""
    pairs = recipe.pairs
    assert pairs is not None
    yield from named(workspace, "prompts", pairs.feedback_prompt, file, "pairs.feedback_prompt")
    for key, name in (("size_of", pairs.size_of), ("after", pairs.after)):
        if name is not None and name not in known:
            remedy = f"Known: {', '.join(sorted(known))}"
            yield UserError("no such recipe", file=file, key=f"pairs.{key}", value=name, remedy=remedy)
    like = known[pairs.size_of].pairs if pairs.size_of is not None and pairs.size_of in known else None
    if pairs.size_of is not None and pairs.size_of in known and (like is None or like.size_of is not None):
        yield UserError(
            "this recipe has no decisions of its own to compare with",
            file=file,
            key="pairs.size_of",
            value=pairs.size_of,
            remedy="Name a recipe with pairs, such as mapd",
        )
    seen = [recipe.recipe]
    before = pairs.after
    while before is not None and before in known:
        if before in seen:
            yield UserError("exams follow each other in a circle", file=file, key="pairs.after", value=before)
            return
        seen.append(before)
        if not known[before].trained:
            yield UserError("this recipe trains no student", file=file, key="pairs.after", value=before)
            return
        earlier = known[before].pairs
        before = earlier.after if earlier is not None else None


def check_pairs_cell(workspace: "Workspace", setup: str, recipe: Recipe, task: str) -> Iterator[UserError]:
    """What a cell of a table asks of its setup: a committee with this teacher, whose prompts fit the task."""
    assert recipe.pairs is not None
    try:
        committee = workspace.committee_of(recipe.recipe, setup)
    except UserError as error:
        yield error
        return
    file = workspace.files["committees"][committee.committee]
    pairs = recipe.pairs
    if pairs.teacher is not None and pairs.teacher not in committee.names:
        yield UserError(
            f"committee {committee.committee} has no such teacher",
            file=file,
            key=f"pairs.teacher of {recipe.recipe}",
            value=pairs.teacher,
            remedy=f"Its teachers are {', '.join(committee.names)}",
        )
    review = committee.review
    if (
        pairs.reviewed
        and review.gate == "right"
        and (pairs.accept.gate, pairs.accept.grader) != ("right", review.grader)
    ):
        yield UserError(
            f"committee {committee.committee} reviews only rationales that {review.grader} finds right",
            file=file,
            key=f"pairs.accept.gate of {recipe.recipe}",
            value=pairs.accept.gate,
            remedy=f"Set it to right with `grader: {review.grader}`, or the committee's `review.gate` to none",
        )
    if committee.released is not None and (pairs.after is not None or pairs.round > 1):
        yield UserError(
            "a released exchange is about one exam, which another student sat",
            file=file,
            key=f"pairs.after of {recipe.recipe}",
            value=pairs.after,
            remedy="Take a committee that is asked, or one round",
        )
    exemplars = workspace.tasks[task].exemplars
    have = exemplars.count or len(exemplars.written)
    for member, teacher in committee.teachers.items():
        for key in ("rationale", "feedback"):
            prompt = workspace.prompts.get(getattr(teacher, key))
            if prompt is not None and (needed := prompt.first_exemplar + prompt.exemplars * prompt.rounds) > have:
                yield UserError(
                    f"prompt {prompt.prompt} shows exemplars up to number {needed}, and task {task} has {have}",
                    file=file,
                    key=f"teachers.{member}.{key}",
                    remedy="Give the task more exemplars, or the prompt fewer",
                )


def _exam(workspace: "Workspace", committee: Committee, file: str) -> Iterator[UserError]:
    if committee.released is not None:
        return
    student_answers = committee.student_answers
    yield from named(workspace, "samplers", student_answers.sampler, file, "student_answers.sampler")
    yield from named(workspace, "models", student_answers.student, file, "student_answers.student")
    sampler = workspace.samplers.get(student_answers.sampler)
    if sampler is not None and (sampler.model != "trained" or sampler.samples != 1):
        yield UserError(
            "an exam is sat by the student, once",
            file=file,
            key="student_answers.sampler",
            value=student_answers.sampler,
            remedy=f"Name a sampler with `model: trained` and `samples: 1`, which {student_answers.sampler} has not",
        )


def routes(
    teachers: Mapping[str, str],
    *,
    reviewers: Mapping[str, str] | None = None,
    allow: Iterable[tuple[str, str]] = (),
    at_least: int = 2,
) -> dict[str, tuple[str, ...]]:
    """The reviewers of each teacher, before anything is asked.

    Args:
        teachers: Name -> family of those whose rationales are reviewed.
        reviewers: Name -> family of those who review; the teachers themselves if not given. People have a family of
            their own.
        allow: (reviewer, author) pairs of one family that may review nevertheless. A self-review is never allowed.
        at_least: Reviewers that every author needs; with two teachers each has one.

    Raises:
        UserErrors: Every author with too few reviewers, and every allowed pair that cannot be.

    Source: MAPD (arXiv 2410.03663): each rationale is scored by the other teachers. Families are ours.
    """
    panel = teachers if reviewers is None else reviewers
    allowed = list(allow)
    faults = [_wrong_pair(pair, teachers, panel) for pair in allowed]
    found = {
        author: tuple(
            reviewer
            for reviewer in panel
            if reviewer != author and (panel[reviewer] != family or (reviewer, author) in allowed)
        )
        for author, family in teachers.items()
    }
    for author, chosen in found.items():
        if len(chosen) < at_least:
            kin = [name for name in panel if name != author and name not in chosen]
            same = f"; {', '.join(kin)} are of its family ({teachers[author]})" if kin else ""
            faults.append(
                UserError(
                    f"{len(chosen)} may review it, and {at_least} are needed{same}",
                    key=f"reviewers of {author}",
                    value=list(chosen),
                    remedy="Add teachers of other families, allow a pair of one family by name, or ask for fewer",
                )
            )
    problems = [fault for fault in faults if fault is not None]
    if problems:
        raise UserErrors(problems)
    return found


def _wrong_pair(pair: tuple[str, str], teachers: Mapping[str, str], panel: Mapping[str, str]) -> UserError | None:
    reviewer, author = pair
    if reviewer == author:
        problem, remedy = "nobody may review itself", "Remove the pair"
    elif reviewer not in panel or author not in teachers:
        problem = "no such reviewer or author"
        remedy = f"Reviewers are {', '.join(panel)}; authors are {', '.join(teachers)}"
    else:
        return None
    return UserError(problem, key="allow", value=f"{reviewer} reviews {author}", remedy=remedy)
