"""A few train questions with their worked solutions: texts that measure a model before anything is sampled."""

from collections.abc import Sequence

from distillery.errors import UserError
from distillery.hashing import draw_key
from distillery.records import Question, TrainingRow
from distillery.tasks.prompts import Renderer


def worked_texts(questions: Sequence[Question], renderer: Renderer, *, count: int, seed: int) -> list[TrainingRow]:
    """Prompt and target of `count` questions that the seed draws; of all, where there are fewer.

    The target holds the question's own worked solution and its gold answer: no model has to be asked first.

    Raises:
        UserError: There are no questions; or the target shows a rationale, and a question has none.
    """
    drawn = sorted(questions, key=lambda question: draw_key(seed, "worked", question.qid))[:count]
    file = f"config/prompts/{renderer.prompt.prompt}.yaml"
    if not drawn:
        raise UserError("the task has no train questions", key="task", remedy="Give it some, or name another task")
    if renderer.target("a", "") != renderer.target("b", ""):
        bare = next((question for question in drawn if not question.rationale), None)
        if bare is not None:
            raise UserError(
                f"the target shows a rationale, and question {bare.qid} of {bare.task} has no worked solution",
                file=file,
                key="target",
                value=renderer.prompt.target,
                remedy="Name a prompt whose target is the answer alone, such as student-answer, or another task",
            )
    return [
        TrainingRow(
            qid=question.qid,
            source="gold",
            sample_index=0,
            completion_id=None,
            prompt=renderer.input(question.question),
            target=renderer.target(question.rationale or "", question.gold, question.question),
        )
        for question in sorted(drawn, key=lambda question: question.qid)
    ]
