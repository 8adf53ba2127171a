"""The requests and texts about one question: the last part of a lineage, from a job down to its prompts."""

from collections.abc import Iterator

from distillery.errors import UserError
from distillery.files import read_json_lines
from distillery.models.manifest import read_manifest
from distillery.planning.snakemake_graph import Node
from distillery.planning.stages import ABOUT_QUESTIONS, SAMPLE
from distillery.sampling.requests import Series
from distillery.sampling.store import CompletionStore


def of_question(node: Node, qid: str) -> Iterator[str]:
    """The records about a question in the outputs of a job, as text; samples with the prompt that the store keeps."""
    if node.job.stage not in ABOUT_QUESTIONS:
        return
    for path in node.job.results.values():
        if path.suffix != ".jsonl" or not path.exists():
            continue
        rows = [row for row in read_json_lines(path) if row.get("qid") == qid]
        prompts = _prompts(node, {row["completion_id"] for row in rows}) if node.job.stage == SAMPLE else {}
        for row in rows:
            shown = {"prompt": prompts[row["completion_id"]]} if row.get("completion_id") in prompts else {}
            yield "\n".join(f"{name}: {value}" for name, value in {**shown, **row}.items())


def _prompts(node: Node, keys: set[str]) -> dict[str, str]:
    """Prompts of completions of a sampling job, by key."""
    manifest, spec = node.job.inputs["manifest"], node.job.params["spec"]
    assert not isinstance(manifest, list)
    try:
        model = read_manifest(manifest)
    except UserError:
        return {}
    series = Series.of(model.identity, spec["decoding"], spec["prompt"]["stop"])
    found: dict[str, str] = {}
    for _, table in CompletionStore().tables(series, ["key", "prompt"]):
        for key, prompt in zip(table["key"].to_pylist(), table["prompt"].to_pylist(), strict=True):
            if key in keys:
                found.setdefault(key, prompt)
    return found
