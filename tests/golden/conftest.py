"""Real teacher data: found beside or above the repository, never copied into it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

VARIABLE = "DISTILLERY_SHARED_DATA"


def _data_root() -> Path | None:
    said = os.environ.get(VARIABLE)
    if said:
        return Path(said)
    here = Path(__file__).resolve()
    places = [folder / "shared" / "data" for folder in here.parents]
    return next((place for place in places if (place / "MANIFEST.tsv").is_file()), None)


@pytest.fixture(scope="session")
def released() -> Callable[[str], Path]:
    """Path of a released file; the test is skipped, with the reason, where the file is absent."""
    root = _data_root()

    def find(name: str) -> Path:
        if root is None:
            pytest.skip(f"the papers' data is not here: set {VARIABLE} to the folder that holds MANIFEST.tsv")
        path = root / name
        if not path.exists():
            pytest.skip(f"{name} is not in the data folder")
        return path

    return find
