"""What current results need: completions by their keys in the store, artifacts by the keys of their jobs."""

import json
from collections.abc import Iterable
from pathlib import Path

from distillery.errors import UserError
from distillery.files import read_json, read_json_lines
from distillery.planning.stages import PAGES

WRITTEN = {"completions.jsonl", "predictions.jsonl", "rationales.jsonl", "feedback.jsonl", "replies.jsonl"}
"""Files of what models wrote: of samplers and students, of teachers and reviewers."""


def completion_keys(folders: Iterable[Path]) -> set[str]:
    """Keys of all that models wrote for some folders of results.

    Raises:
        UserError: A folder is missing: then everything would count as not needed.
    """
    keys: set[str] = set()
    for folder in folders:
        for path in sorted(existing_results(folder).rglob("*.jsonl")):
            if path.name in WRITTEN:
                for row in read_json_lines(path):
                    keys.update(key for key in (row["completion_id"], row.get("answer_id")) if key)
    return keys


def artifact_keys(folders: Iterable[Path]) -> set[str]:
    """Keys of all jobs that the tables and audits below some folders of results come from."""
    keys: set[str] = set()
    for folder in folders:
        root = existing_results(folder)
        makers = {}
        for path in sorted(root.rglob("*provenance.json")):
            try:
                record = read_json(path)
            except json.JSONDecodeError:
                continue
            makers.update(dict.fromkeys(record["outputs"].values(), record))
        todo = [record for record in makers.values() if record["stage"] in PAGES]
        while todo:
            record = todo.pop()
            if record["key"] not in keys:
                keys.add(record["key"])
                todo.extend(makers[file] for files in record["inputs"].values() for file in files if file in makers)
    return keys


def existing_results(folder: Path) -> Path:
    """The folder itself.

    Raises:
        UserError: It is missing.
    """
    if not folder.is_dir():
        raise UserError("no such folder of results", file=folder, remedy="Name the folders that hold current results")
    return folder
