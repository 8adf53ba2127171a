"""Real teacher data: found beside or above the repository, never copied into it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ..machine import VARIABLE, data_root


@pytest.fixture(scope="session")
def released() -> Callable[[str], Path]:
    """Path of a released file; the test is skipped, with the reason, where the file is absent."""
    root = data_root()

    def find(name: str) -> Path:
        if root is None:
            pytest.skip(f"the papers' data is not here: set {VARIABLE} to the folder that holds MANIFEST.tsv")
        path = root / name
        if not path.exists():
            pytest.skip(f"{name} is not in the data folder")
        return path

    return find
