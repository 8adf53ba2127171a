"""Cross-checks of committees and of the recipes that they teach: who is named, who may review whom.

Nobody reviews itself. Models of one family do not review each other either, unless the pair is allowed by name: judges
prefer text of their own family (arXiv 2404.13076). The order of the reviewers is the order in which they are given.

>>> routes({"gpt": "gpt", "gemini": "gemini", "mistral": "mistral"})["gemini"]
('gpt', 'mistral')
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distillery.config.committee import Committee
from distillery.config.exemplar_checks import check_exemplars
from distillery.config.names import named
from distillery.config.recipe import Recipe
from distillery.errors import UserError, UserErrors

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def check_committee(workspace: "Workspace") -> Iterator[UserError]:
    """Names in committees, and whether every teacher has reviewers."""
    for name, committee in workspace.committees.items():

        def where(*path: str, value: Any = None, name: str = name) -> dict:
            return workspace.where("committees", name, *path, value=value)

        yield from _student_answers(workspace, committee)
        for member, teacher in committee.teachers.items():
            yield from named(workspace, "models", teacher.model, where("teachers", member, "model"))
            for key in ("rationale", "feedback"):
                yield from named(workspace, "prompts", getattr(teacher, key), where("teachers", member, key))
        for member, reviewer in committee.reviewers.items():
            yield from named(workspace, "models", reviewer.model, where("reviewers", member, "model"))
        if committee.released is not None:
            continue
        for member in committee.panel:
            section = "teachers" if member in committee.teachers else "reviewers"
            own = getattr({**committee.teachers, **committee.reviewers}[member], "review", None)
            place = where(section, member, "review") if own is not None else where("review", "prompt")
            yield from named(workspace, "prompts", committee.prompt_of_reviewer(member), place)
        try:
            routing_of(committee)
        except UserErrors as faults:
            for fault in faults.errors:
                pair = str(fault.value).split(" reviews ")
                author = str(fault.key).removeprefix("reviewers of ")
                at = where("same_family", value=pair) if fault.key == "allow" else where("teachers", author)
                if fault.key != "allow":
                    at = {**at, "key": fault.key}
                yield UserError(fault.problem, value=fault.value, remedy=fault.remedy, **at)


def routing_of(committee: Committee, also: str | None = None) -> dict[str, tuple[str, ...]]:
    """Who reviews whom: models, and people whose sheet is named (or the one of `also`). Teachers in the file's order.

    Raises:
        UserErrors: A teacher has too few reviewers, or an allowed pair cannot be.
    """
    people = {
        name: f"person {name}" for name, person in committee.people.items() if person.sheet is not None or name == also
    }
    models = {} if committee.released is not None else committee.panel
    return routes(
        committee.families,
        reviewers=models | people,
        allow=committee.same_family,
        at_least=committee.review.at_least if committee.released is None else 0,
    )


def check_pairs(
    workspace: "Workspace", known: Mapping[str, Recipe], recipe: Recipe, where: Callable[[str], dict[str, Any]]
) -> Iterator[UserError]:
    """Names in the pairs section of a recipe.

    Args:
        known: The recipes of its setup.
        where: Place of a key of the section.
    """
    pairs = recipe.pairs
    assert pairs is not None
    yield from named(workspace, "prompts", pairs.feedback_prompt, where("feedback_prompt"))
    for key, name in (("size_of", pairs.size_of), ("after", pairs.after)):
        if name is not None and name not in known:
            remedy = f"Known: {', '.join(sorted(known))}"
            yield UserError("no such recipe", value=name, remedy=remedy, **where(key))
    like = known[pairs.size_of].pairs if pairs.size_of is not None and pairs.size_of in known else None
    if pairs.size_of is not None and pairs.size_of in known and (like is None or like.size_of is not None):
        yield UserError(
            "this recipe has no decisions of its own to compare with",
            value=pairs.size_of,
            remedy="Name a recipe with pairs, such as mapd",
            **where("size_of"),
        )
    seen = [recipe.recipe]
    before = pairs.after
    while before is not None and before in known:
        if before in seen:
            remedy = "Let one of them start from an untrained student"
            problem = "recipes follow each other in a circle"
            yield UserError(problem, value=before, remedy=remedy, **where("after"))
            return
        seen.append(before)
        if not known[before].trained:
            remedy = "Name a recipe with `train`"
            yield UserError("this recipe trains no student", value=before, remedy=remedy, **where("after"))
            return
        earlier = known[before].pairs
        before = earlier.after if earlier is not None else None


def check_pairs_cell(workspace: "Workspace", setup: str, recipe: Recipe, task: str) -> Iterator[UserError]:
    """What a cell of a table needs of its setup: a committee with this teacher, whose prompts fit the task."""
    assert recipe.pairs is not None
    try:
        committee = workspace.committee_of(recipe.recipe, setup)
    except UserError as error:
        yield error
        return

    def where(*path: str) -> dict[str, Any]:
        return workspace.where_variant(setup, recipe.recipe, "pairs", *path)

    pairs, review, name = recipe.pairs, committee.review, committee.committee
    if pairs.teacher is not None and pairs.teacher not in committee.names:
        yield UserError(
            f"committee {name} has no such teacher",
            value=pairs.teacher,
            remedy=f"Its teachers are {', '.join(committee.names)}",
            **where("teacher"),
        )
    if (
        pairs.reviewed
        and review.gate == "right"
        and review.grader in workspace.graders_of(task)
        and (pairs.accept.gate, pairs.accept.grader) != ("right", review.grader)
    ):
        yield UserError(
            f"committee {name} reviews only rationales that {review.grader} finds right",
            value=pairs.accept.gate,
            remedy=f"Set it to right with `grader: {review.grader}`, or the committee's `review.gate` to none",
            **where("accept", "gate"),
        )
    if committee.released is not None and (pairs.after is not None or pairs.round > 1):
        yield UserError(
            "a released exchange is about the answers of one student, which is not trained here",
            value=pairs.after,
            remedy="Take a committee whose models are requested, or one round",
            **where("after"),
        )
    yield from _review_values(workspace, setup, recipe, committee)
    yield from _graders(workspace, setup, recipe, committee, task)
    for teacher in committee.teachers.values():
        for prompt_name in (teacher.rationale, teacher.feedback):
            prompt = workspace.prompts.get(prompt_name)
            if prompt is not None:
                yield from check_exemplars(workspace, prompt, task)


def _review_values(workspace: "Workspace", setup: str, recipe: Recipe, committee: Committee) -> Iterator[UserError]:
    """Weights and expected scores that the rule reads are there for every reviewer."""
    assert recipe.pairs is not None
    rule = recipe.pairs.accept
    if not recipe.pairs.reviewed:
        return

    def where(key: str) -> dict[str, Any]:
        return workspace.where_variant(setup, recipe.recipe, "pairs", "accept", key)

    people = [name for name, person in committee.people.items() if person.sheet is not None]
    models = committee.names if committee.released is not None else list(committee.panel)
    missing = [name for name in [*models, *people] if name not in (rule.weights or {})]
    if rule.weights is not None and missing:
        remedy = "Name all reviewers in `weights`"
        yield UserError(
            f"{', '.join(missing)} of committee {committee.committee} has no weight", remedy=remedy, **where("weights")
        )
    if rule.value == "expected":
        stated = people if committee.released is None else [*models, *people]
        if committee.released is None:
            for name in models:
                prompt = workspace.prompts.get(committee.prompt_of_reviewer(name))
                if committee.review.protocol == "paper" or (prompt is not None and prompt.answer_cue is None):
                    stated.append(name)
        if stated:
            yield UserError(
                f"{', '.join(stated)} of committee {committee.committee} states scores and gives no probabilities",
                value=rule.value,
                remedy="Set `value: score`, or use the robust protocol and review prompts with an `answer_cue`",
                **where("value"),
            )


def _graders(
    workspace: "Workspace", setup: str, recipe: Recipe, committee: Committee, task: str
) -> Iterator[UserError]:
    """The task has every grader whose verdicts are read."""
    assert recipe.pairs is not None
    known = workspace.graders_of(task)
    name = committee.committee
    read = []
    if recipe.pairs.accept.gate != "none":
        where = workspace.where_variant(setup, recipe.recipe, "pairs", "accept", "grader")
        read.append((recipe.pairs.accept.grader, where))
    if committee.released is None:
        grader = committee.student_answers.grader
        read.append((grader, workspace.where("committees", name, "student_answers", "grader")))
    if committee.review.gate != "none":
        read.append((committee.review.grader, workspace.where("committees", name, "review", "grader")))
    for grader, where in read:
        if grader not in known:
            yield UserError(
                f"task {task} has no such grader",
                value=grader,
                remedy=f"Use one of {', '.join(known)}, or add it to the task's `graders`",
                **where,
            )


def _student_answers(workspace: "Workspace", committee: Committee) -> Iterator[UserError]:
    if committee.released is not None:
        return
    answers, name = committee.student_answers, committee.committee
    where = workspace.where("committees", name, "student_answers", "sampler")
    yield from named(workspace, "samplers", answers.sampler, where)
    student = workspace.where("committees", name, "student_answers", "student")
    yield from named(workspace, "models", answers.student, student)
    sampler = workspace.samplers.get(answers.sampler)
    if sampler is not None and (sampler.model != "trained" or sampler.samples != 1):
        yield UserError(
            "the student answers each question once, with a sampler that takes a trained model",
            value=answers.sampler,
            remedy=f"Name a sampler with `model: trained` and `samples: 1`, which {answers.sampler} has not",
            **where,
        )


def routes(
    teachers: Mapping[str, str],
    *,
    reviewers: Mapping[str, str] | None = None,
    allow: Iterable[tuple[str, str]] = (),
    at_least: int = 2,
) -> dict[str, tuple[str, ...]]:
    """The reviewers of each teacher, before anything is sampled.

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
