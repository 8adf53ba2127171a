"""Has a task the worked examples that a prompt shows?"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from distillery.config.prompt import Prompt
from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def check_exemplars(workspace: "Workspace", prompt: Prompt, task_name: str) -> Iterator[UserError]:
    """The task has the exemplars that a prompt shows, and programs where the prompt asks for programs."""
    task = workspace.tasks[task_name]
    shown = prompt.exemplars * prompt.rounds
    have = task.exemplars.count or len(task.exemplars.written)
    if shown and prompt.first_exemplar + shown > have:
        yield UserError(
            f"prompt {prompt.prompt} shows exemplars {prompt.first_exemplar} to {prompt.first_exemplar + shown - 1}, "
            f"and the task has {have}",
            remedy="Give the task more exemplars, or the prompt fewer",
            **workspace.where("tasks", task_name, "exemplars"),
        )
        return
    if prompt.form != "program" or not shown:
        return
    written = task.exemplars.written[prompt.first_exemplar :]
    for place, exemplar in enumerate(written if prompt.select == "similar" else written[:shown]):
        if exemplar.program is None:
            yield UserError(
                f"prompt {prompt.prompt} shows programs, and this exemplar has none",
                value=exemplar.question,
                remedy="Give the task's exemplars a `program`, or use a prompt for text",
                **workspace.where("tasks", task_name, "exemplars", "written", str(prompt.first_exemplar + place)),
            )
            return
