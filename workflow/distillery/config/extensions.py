"""Extensions: parts of a method that are added as a module of their own, and what this library knows of each kind.

    objectives      losses that teach a student        distillery.training.objectives
    row sources     where training rows come from      distillery.training.sources
    graders         kinds of final answers             distillery.verification.graders
    comparisons     when two answers are equal         distillery.verification.graders.comparisons
    generators      questions made by a seed           distillery.tasks.generators
    step scorers    how good a program's line is       distillery.programs.step_scorers

A settings file names an extension by a text. The rooms that own the extensions lie above this one, so their names come
in from above: a `Registry` is the context in which settings are validated. Settings that a job gets as parameters have
been validated before, so they may be read without one; only an objective always needs it, as its keys are its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from distillery.config.base import Section

KNOWN = "x-known"
"""Key of a JSON schema that names a kind of extension; `json_schema` puts the known extensions in its place."""


TEMPERATURES = (0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)
"""Temperatures at which top-k soft labels know the mass of their tail."""


class SoftLabelForm(Section):
    """How a mentor's distributions are stored: all of each, or its likeliest tokens and the mass of the others."""

    form: Literal["exact", "top-k"] = "exact"
    k: int | None = Field(None, ge=1)


class Objective(Section):
    """A loss: its settings, and what carrying it out needs. One subclass for each module of the objectives.

    A subclass has `compute`, and `counts` where the loss divides by something other than the target tokens
    (`distillery.training.objectives`).
    """

    loss: str

    architectures: ClassVar[tuple[str, ...]] = ("causal", "encoder-decoder")
    """Architectures of students that this loss is meant for."""

    because: ClassVar[Mapping[str, str]] = {}
    """Need -> the setting that causes it, for messages; where none is named, it is the loss itself."""

    @property
    def needs(self) -> frozenset[str]:
        """What the trainer has to provide beside logits and labels; `distillery.training.objectives` lists it."""
        return frozenset()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of an objective that needs pairs: the rows of a pair that are trained on, by their source."""
        return ()

    @property
    def soft_label_form(self) -> SoftLabelForm | None:
        """How the mentor's distributions are stored before the training.

        None: no mentor is needed, or it has to run beside the student, as padding and prompts take part in the loss.
        """
        stored = "mentor" in self.needs and not self.needs & {"all-positions", "supervised-padding"}
        return SoftLabelForm() if stored else None

    def compute(self, batch: Any) -> Any:
        """The loss of a micro-batch (`distillery.training.objectives.batch.Batch`), a scalar tensor."""
        raise NotImplementedError


@dataclass(frozen=True)
class RowSource:
    """Where rows `from: <name>` come from.

    Args:
        rows: Makes the rows of one source, and counts what it dropped by reason
            (`distillery.training.sources.common`).
        sampler: Whose completions it takes: a key of the setup that names a sampler, `mentor` for the sampler of the
            recipe's trained mentor, None where it takes no completions (then it needs no verdicts either).
        form: What the completions are; prompts of another form are refused. None accepts both.
    """

    rows: Callable[[Any], tuple[list[Any], Counter[str]]]
    sampler: Literal["teacher", "program_teacher", "mentor"] | None = None
    form: Literal["text", "program"] | None = None


@dataclass(frozen=True)
class Registry:
    """What is known, by the name that settings use.

    `trainers` says what each trainer provides: architecture -> needs that an objective may have.
    """

    objectives: Mapping[str, type[Objective]]
    trainers: Mapping[str, frozenset[str]]
    row_sources: Mapping[str, RowSource]
    graders: Mapping[str, Any]
    comparisons: Mapping[str, Any]
    generators: Mapping[str, Any]
    step_scorers: Mapping[str, Any]


class Refusal(NamedTuple):
    """Why no trainer carries out an objective, and the key under `objective` that causes it, with its value."""

    problem: str
    key: str
    value: Any


def refusal(objective: Objective, architecture: str, trainers: Mapping[str, frozenset[str]]) -> Refusal | None:
    """Why no trainer carries this objective out on a student of this architecture; None where one does."""
    if architecture not in objective.architectures:
        problem = f"the objective {objective.loss} is for {' and '.join(objective.architectures)} students only"
        return Refusal(problem, "loss", objective.loss)
    lacking = sorted(objective.needs - trainers[architecture])
    if lacking:
        key = objective.because.get(lacking[0], "loss")
        problem = f"the trainer of {architecture} students lacks {', '.join(lacking)}, which {objective.loss} needs"
        return Refusal(problem, key, objective.model_dump(by_alias=True)[key])
    return None


@dataclass(frozen=True)
class Known:
    """Marks a text as the name of an extension of one kind (a field of `Registry`); unknown names are refused."""

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def known(value: str, info: ValidationInfo) -> str:
            if info.context is not None and value not in getattr(info.context, self.kind):
                raise _unknown(self.kind.removesuffix("s"), getattr(info.context, self.kind))
            return value

        return core_schema.with_info_after_validator_function(known, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), KNOWN: self.kind}


class KnownObjective:
    """Marks an objective: the model of its `loss` validates it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def validated(value: Any, _inner: Any, info: ValidationInfo) -> Objective:
            if isinstance(value, Objective):
                return value
            if info.context is None:
                raise TypeError("an objective is validated in the context of a Registry")
            if not isinstance(value, Mapping):
                raise PydanticCustomError("objective", "an objective is a mapping of keys, with `loss` among them")
            loss = value.get("loss")
            if not isinstance(loss, str) or loss not in info.context.objectives:
                fault = _unknown("loss", info.context.objectives)
                raise ValidationError.from_exception_data(
                    "objective", [{"type": fault, "loc": ("loss",), "input": loss}]
                )
            return info.context.objectives[loss].model_validate(value)

        return core_schema.with_info_wrap_validator_function(validated, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {KNOWN: "objectives"}


def _unknown(what: str, known: Mapping[str, Any]) -> PydanticCustomError:
    return PydanticCustomError("unknown_extension", f"no such {what.replace('_', ' ')}; known: {', '.join(known)}")


def json_schema(kind: Any, registry: Registry) -> dict[str, Any]:
    """The JSON schema of a section, with the names of the known extensions and the settings of each objective."""
    schema = TypeAdapter(kind).json_schema()
    definitions: dict[str, Any] = {}
    _fill_in(schema, registry, definitions)
    if definitions:
        schema.setdefault("$defs", {}).update(definitions)
    return schema


def _fill_in(node: Any, registry: Registry, definitions: dict[str, Any]) -> None:
    if isinstance(node, list):
        for item in node:
            _fill_in(item, registry, definitions)
    if not isinstance(node, dict):
        return
    kind = node.pop(KNOWN, None)
    if kind == "objectives":
        mapping = {}
        for name, section in registry.objectives.items():
            definitions[section.__name__] = section.model_json_schema()
            mapping[name] = f"#/$defs/{section.__name__}"
        node["oneOf"] = [{"$ref": reference} for reference in mapping.values()]
        node["discriminator"] = {"mapping": mapping, "propertyName": "loss"}
    elif kind is not None:
        node["enum"] = list(getattr(registry, kind))
    for item in list(node.values()):
        _fill_in(item, registry, definitions)
