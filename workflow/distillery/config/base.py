"""What every declarative section shares: unknown keys are refused, values are frozen, names are plain."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

NAME_PATTERN = r"^[a-z0-9][a-z0-9_.-]*$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Names stand in paths: lower case letters, digits, dot, dash and underscore."""

VariantName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.=-]*$")]
"""A recipe's name with the settings of a variant behind it: `mentor-kd.lambda=0.5`."""


TaughtPart = Literal["reasoning", "answer", "both"]
"""Which part of a reasoning model's completion a student learns; see `distillery.tasks.reasoning`."""


class Section(BaseModel):
    """A part of a declarative file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def plain(section: BaseModel, *, without: set[str] | None = None) -> dict[str, Any]:
    """A section as JSON types with sorted keys: the shape in which job parameters are compared by value."""
    return _sorted(section.model_dump(mode="json", by_alias=True, exclude=without))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value
