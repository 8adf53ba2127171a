"""Is a thing of this name declared? What every cross-check of names asks."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from distillery.errors import UserError

if TYPE_CHECKING:
    from distillery.config.workspace import Workspace


def named(workspace: "Workspace", section: str, name: str | None, file: str, key: str) -> Iterator[UserError]:
    """The fault of a name that no file declares; nothing for a name that is, or for none."""
    known = getattr(workspace, section)
    if name is not None and name not in known:
        yield UserError(
            f"no {section.rstrip('s')} of this name is declared",
            file=file,
            key=key,
            value=name,
            remedy=f"Declare it, or use one of: {', '.join(sorted(known)) or 'none so far'}",
        )
