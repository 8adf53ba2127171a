"""Is a thing of this name declared? The question of every cross-check of names."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distillery.errors import UserError

Where = Mapping[str, Any]
"""File, line and key of a setting, as arguments of a UserError."""

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def named(workspace: "Workspace", section: str, name: str | None, where: Where) -> Iterator[UserError]:
    """The fault of a name that no file declares; nothing for a name that is declared, or for None.

    Args:
        where: File, line and key of the name, as arguments of a UserError.
    """
    known = getattr(workspace, section)
    if name is not None and name not in known:
        yield UserError(
            f"no {section.rstrip('s')} of this name is declared",
            value=name,
            remedy=f"Declare it, or use one of: {', '.join(sorted(known)) or 'none so far'}",
            **where,
        )
