"""Rows of a data set on the Hugging Face Hub, from the files of the pinned commit and nothing else.

`datasets` falls back to its own cache of other commits where the Hub cannot be reached. So it never sees the
repository's name here: it reads a folder that holds the checked files of the commit (`distillery.hub`), and prepares
them in a temporary cache. A first look at a folder of empty files with the same names says which files the
configuration consists of, so that only these are fetched. Code of a repository is never run.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from distillery.config.task import HubSource
from distillery.errors import UserError
from distillery.files import sha256_file
from distillery.hub import Repository, leads_outside
from distillery.records import Split

DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")
"""Files from which `datasets` learns configurations, splits and columns. Of archives it looks at the content."""

HubRead = dict[str, Any]
"""What was read, for the record: repository, commit, and the SHA-256 of each file."""


def read_hub(source: HubSource, downloads: Path, file: str) -> tuple[dict[Split, list[dict[str, Any]]], HubRead]:
    """The rows of each split of the source, and what they were read from.

    Args:
        downloads: Where fetched files are kept.
        file: The task file, for messages.

    Raises:
        UserError: The commit cannot be had, lists a file outside of it, or is not a data set with these splits.
    """
    from datasets import load_dataset, load_dataset_builder

    repository = Repository("dataset", source.path, source.revision, Path(downloads) / "hub", file, "source.path")
    listing = repository.listing()
    with tempfile.TemporaryDirectory(prefix="distillery-hub-") as temporary:
        folder = Path(temporary).resolve() / "rows"
        needed = [name for name in listing if name in DESCRIPTIONS or name.endswith(".zip")]
        options = {"name": source.name, "cache_dir": str(folder.parent / "prepared")}
        try:
            _make_empty(folder, listing)
        except OSError as error:  # such as a file and a folder of one name
            raise _refusal(error, folder, file, "source.path", source.path) from error
        _put(repository, needed, folder)
        try:
            _check_paths(folder)
            builder = load_dataset_builder(str(folder), **options)
            used = sorted({_within(path, folder) for paths in builder.config.data_files.values() for path in paths})
        except Exception as error:  # files of others: anything can be wrong with them
            raise _refusal(error, folder, file, "source.name", source.name) from error
        _put(repository, used, folder)
        rows: dict[Split, list[dict[str, Any]]] = {}
        for split, name in source.splits.items():
            try:
                rows[split] = [dict(fields) for fields in load_dataset(str(folder), split=name, **options)]
            except Exception as error:  # as above
                raise _refusal(error, folder, file, f"source.splits.{split}", f"{source.path}, {name}") from error
        files = {name: listing[name].sha256 or sha256_file(folder / name) for name in sorted({*needed, *used})}
    return rows, {"repository": source.path, "commit": source.revision, "files": files}


def _refusal(error: Exception, folder: Path, file: str, key: str, value: str | None) -> UserError:
    cause = error.__cause__ or error  # "An error occurred while generating the dataset" says nothing
    problem = cause.problem if isinstance(cause, UserError) else f"{type(cause).__name__}: {cause}"
    problem = " ".join(problem.replace(f"{folder}/", "").split())[:500]
    remedy = (isinstance(cause, UserError) and cause.remedy) or "Check path, name, revision and split"
    return UserError(f"the data set cannot be loaded: {problem}", file=file, key=key, value=value, remedy=remedy)


def _make_empty(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _put(repository: Repository, names: list[str], folder: Path) -> None:
    """Put the commit's files in the place of the empty ones."""
    if not names:
        return
    fetched = repository.fetch(names)
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to((fetched / name).resolve())


def _within(path: str, folder: Path) -> str:
    """The name, in the folder, of a file that `datasets` wants to read."""
    name = Path(path).relative_to(folder).as_posix() if Path(path).is_relative_to(folder) else path
    if leads_outside(name):
        raise _outside(name)
    return name


def _check_paths(folder: Path) -> None:
    """Refuse configurations that name files of other places, before `datasets` looks for them there."""
    from huggingface_hub import DatasetCard

    described: list[Any] = []
    if (folder / "README.md").is_file():
        described.append(DatasetCard.load(folder / "README.md").data.to_dict())
    if (folder / ".huggingface.yaml").is_file():
        described.append(yaml.safe_load((folder / ".huggingface.yaml").read_text(encoding="utf-8")))
    for text in _texts(described):
        if leads_outside(text):
            raise _outside(text)


def _texts(value: Any) -> Iterator[str]:
    """The texts under `data_files` and `data_dir`, with a limit: aliases of YAML can repeat without end."""
    queue = [(value, False)]
    for _ in range(_LARGEST_DESCRIPTION):
        if not queue:
            return
        item, counts = queue.pop()
        if isinstance(item, str) and counts:
            yield item
        elif isinstance(item, dict):
            queue += [(child, counts or key in ("data_files", "data_dir")) for key, child in item.items()]
        elif isinstance(item, list):
            queue += [(child, counts) for child in item]
    raise UserError(f"its description has more than {_LARGEST_DESCRIPTION:,} values", remedy="Use another data set")


_LARGEST_DESCRIPTION = 1_000_000
"""Values in README.md and .huggingface.yaml: 1,000 configurations have about 100,000."""


def _outside(name: str) -> UserError:
    return UserError(f"the data set reads {name!r}, which is not in the commit", remedy="Use another data set")
