r"""Prompts: how a question becomes model input, and a rationale the target that a student learns.

One object renders for sampling, training and prediction, so that a student is asked in the words of its training.

>>> target = " {{ rationale }} --> {{ answer }}"
>>> prompt = Prompt(prompt="p", input="Q: {{ question }}\nA:", target=target, delimiter="-->")
>>> renderer = Renderer(prompt, exemplars=[])
>>> renderer.input("2 + 2?")
'Q: 2 + 2?\nA:'
>>> renderer.target("2 + 2 = 4.", "4")
' 2 + 2 = 4. --> 4'
>>> renderer.rationale(" 2 + 2 = 4. --> 4")
'2 + 2 = 4.'
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from distillery.config.prompt import Prompt
from distillery.errors import UserError
from distillery.rendering import Template, TemplateFault, Templates

_templates = Templates()

REPAIR_FIELDS = ("program", "feedback")
"""Fields, beside the question, of a prompt that asks for the repair of a program."""


class _Exemplar(NamedTuple):
    """A worked example as the prompt shows it, and the words of its question."""

    text: str
    words: frozenset[str]


class _Compiled(NamedTuple):
    """A template of a prompt, and where it stands."""

    template: Template
    file: str
    key: str

    def render(self, **fields: Any) -> str:
        try:
            return self.template.render(fields)
        except Exception as error:  # a template may raise anything on the texts that it gets
            problem, remedy = f"the template fails: {error}", "Correct the template"
            raise UserError(problem, file=self.file, key=self.key, value=fields, remedy=remedy) from error


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", text.lower()))


class Renderer:
    """A prompt together with the exemplars of one task.

    Args:
        prompt: The template.
        exemplars: All exemplars of the task as mappings with `question`, `rationale`, `gold` and, for programs,
            `program`; the prompt shows some of them.
        fields: What `input` may name beside the question, such as the wrong answer in a prompt for feedback.

    Raises:
        UserError: A template is not valid, names a field that it does not get, or fails on a text; or the task has too
            few exemplars.
    """

    def __init__(self, prompt: Prompt, exemplars: Sequence[Mapping[str, Any]], fields: Collection[str] = ()) -> None:
        self.prompt = prompt
        pool = exemplars[prompt.first_exemplar :]
        if len(pool) < prompt.exemplars * prompt.rounds:
            raise UserError(
                f"shows {prompt.exemplars * prompt.rounds} exemplars from number {prompt.first_exemplar} on, "
                f"of {len(exemplars)}",
                file=f"config/prompts/{prompt.prompt}.yaml",
                key="exemplars",
                remedy="Give the task more exemplars, or the prompt fewer",
            )
        self._input = self._compile("input", prompt.input, {"question", *fields})
        self._target = (
            self._compile("target", prompt.target, {"rationale", "answer", "question"}) if prompt.target else None
        )
        self._instruction = prompt.instruction + prompt.separator if prompt.instruction else ""
        if prompt.exemplar is not None:
            worked = self._compile("exemplar", prompt.exemplar, {"question", "rationale", "answer", "program"})
            shown = pool if prompt.select == "similar" else pool[: prompt.exemplars * prompt.rounds]
            self._pool = [self._worked(worked, exemplar) for exemplar in shown]
        else:
            self._pool = []

    def _worked(self, template: _Compiled, exemplar: Mapping[str, Any]) -> "_Exemplar":
        program = exemplar.get("program")
        if self.prompt.form == "program" and program is None:
            raise UserError(
                "an exemplar of the task has no program",
                file=f"config/prompts/{self.prompt.prompt}.yaml",
                key="form",
                value=exemplar["question"],
                remedy="Give the task's exemplars a `program`, or use a prompt for text",
            )
        text = template.render(
            question=exemplar["question"], rationale=exemplar["rationale"], answer=exemplar["gold"], program=program
        )
        return _Exemplar(text, _words(exemplar["question"]))

    def _compile(self, key: str, text: str, fields: set[str]) -> _Compiled:
        file = f"config/prompts/{self.prompt.prompt}.yaml"
        try:
            template = _templates.template(text)
        except TemplateFault as error:
            raise UserError(f"not a valid template: {error}", file=file, key=key, value=text) from error
        unknown = _templates.names(text) - fields
        if unknown:
            raise UserError(
                f"the template names {', '.join(sorted(unknown))}, which it does not get",
                file=file,
                key=key,
                value=text,
                remedy=f"It may use: {', '.join(sorted(fields))}",
            )
        return _Compiled(template, file, key)

    def input(self, question: str, sample_index: int = 0, **fields: str) -> str:
        """Model input for one question: instruction, exemplars, question (and the renderer's other fields).

        Args:
            sample_index: Chooses the block of exemplars, where the prompt has several.
        """
        block = sample_index % self.prompt.rounds
        ranked = self._pool if self.prompt.select == "first" else self._similar(question)
        shown = ranked[block * self.prompt.exemplars : (block + 1) * self.prompt.exemplars]
        if self.prompt.select == "similar":
            shown = shown[::-1]
        text = "".join(exemplar.text + self.prompt.separator for exemplar in shown)
        return self._instruction + text + self._input.render(question=question, **fields)

    def _similar(self, question: str) -> "list[_Exemplar]":
        """The exemplars, sorted by shared words with the question; the most similar is next to it in the prompt.

        Similarity is the Jaccard index of the sets of words; numbers do not count. Of equals the earlier is taken.

        Source: Liu et al. 2022 (arXiv 2101.06804), retrieved exemplars; there with sentence embeddings.
        """
        words = _words(question)
        return sorted(
            self._pool, key=lambda exemplar: -len(exemplar.words & words) / max(1, len(exemplar.words | words))
        )

    @property
    def target_shows_answer(self) -> bool:
        """Whether the target puts the gold answer behind a rationale, or shows a text as it was written."""
        return "answer" in _templates.names(self.prompt.target or "")

    def target(self, rationale: str, answer: str, question: str = "") -> str:
        """What the student learns to write: rationale and GOLD answer (Fine-tune-CoT, section 3)."""
        if self._target is None:
            raise ValueError(f"prompt {self.prompt.prompt} has no target")
        return self._target.render(rationale=rationale, answer=answer, question=question)

    def rationale(self, text: str) -> str:
        """The reasoning in a completion: the text before the first delimiter, stripped; all of it if there is none."""
        delimiter = self.prompt.delimiter
        return (text.split(delimiter, 1)[0] if delimiter else text).strip()


def answer_request(prompt: Prompt, model_input: str, text: str) -> str:
    """Model input of the second call of a two-call prompt, as in Zero-shot-CoT.

    Args:
        model_input: Input of the first call, chat template included.
        text: What the model wrote in the first call.

    Raises:
        ValueError: The prompt has no `answer_cue`, so there is no second call.
    """
    if prompt.answer_cue is None:
        raise ValueError(f"prompt {prompt.prompt} has one call only")
    return model_input + text + prompt.answer_cue
