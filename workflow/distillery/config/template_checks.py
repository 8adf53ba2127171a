"""Templates of prompts and tasks: are they valid, do they name only what their stage gives them, do they end soon?"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from distillery.config.names import Where
from distillery.errors import UserError
from distillery.rendering import TemplateFault, Templates

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace

_templates = Templates()

EXEMPLAR = frozenset({"question", "rationale", "answer", "program"})
TARGET = frozenset({"rationale", "answer", "question"})
QUESTION = frozenset({"question"})
REPAIR = QUESTION | {"program", "feedback"}
FEEDBACK = QUESTION | {"wrong", "gold"}
REVIEW = QUESTION | {"rationale", "hint"}
"""What an input may name: of a prompt for questions, for repairs, about mistakes, for reviews."""


def check_templates(workspace: "Workspace") -> Iterator[UserError]:
    """Every template that is not valid, or names what it does not get."""
    for name, task in workspace.tasks.items():
        for key in ("question", "gold", "rationale"):
            text = getattr(task, key)
            if text is not None:  # its fields are those of a row, which is read later
                yield from _template(text, None, workspace.where("tasks", name, key))
    uses = _uses(workspace)
    for name, prompt in workspace.prompts.items():
        for key, text, fields in (
            ("exemplar", prompt.exemplar, EXEMPLAR),
            ("target", prompt.target, TARGET),
            *(("input", prompt.input, given) for given in uses.get(name, [QUESTION | REPAIR | FEEDBACK | REVIEW])),
        ):
            if text is not None:
                yield from _template(text, fields, workspace.where("prompts", name, key))


def _uses(workspace: "Workspace") -> dict[str, list[frozenset[str]]]:
    """Prompt -> what its input gets in each of its uses."""
    found: dict[str, list[frozenset[str]]] = {}

    def use(prompt: str | None, fields: frozenset[str]) -> None:
        if prompt is not None and fields not in found.setdefault(prompt, []):
            found[prompt].append(fields)

    for sampler in workspace.samplers.values():
        use(sampler.prompt, QUESTION)
    for recipe in (recipe for known in workspace.variants.values() for recipe in known.values()):
        use(recipe.predict.prompt, QUESTION)
        use(recipe.predict.refine.prompt if recipe.predict.refine else None, REPAIR)
        use(recipe.pairs.feedback_prompt if recipe.pairs else None, FEEDBACK)
    for committee in workspace.committees.values():
        for teacher in committee.teachers.values():
            use(teacher.rationale, QUESTION)
            use(teacher.feedback, FEEDBACK)
        for member in committee.panel:
            use(committee.prompt_of_reviewer(member), REVIEW)
    return found


def _template(text: str, fields: Iterable[str] | None, where: Where) -> Iterator[UserError]:
    try:
        template = _templates.template(text)
        named = _templates.names(text)
        if fields is not None:  # loops without end show with any text
            template.render(dict.fromkeys(fields, "1 + 1 = 2"))
    except TemplateFault as error:
        yield UserError(f"not a valid template: {error}", value=text, remedy="Correct the template", **where)
        return
    except Exception:  # it may want more of a text than this example has
        pass
    unknown = named - set(fields) if fields is not None else set()
    if unknown and fields is not None:
        yield UserError(
            f"the template names {', '.join(sorted(unknown))}, which it does not get",
            value=text,
            remedy=f"It may use: {', '.join(sorted(fields))}",
            **where,
        )
