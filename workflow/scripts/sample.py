"""Sample a model on the questions of one split, through the completion store."""

import logging
from pathlib import Path
from typing import Any

from distillery.running import run_script

logger = logging.getLogger("distillery.sample")


def main(
    questions: Path,
    exemplars: Path,
    manifest: Path,
    completions: Path,
    summary: Path,
    spec: dict[str, Any],
    sampler: str,
) -> dict[str, Any]:
    """Write one completion record for each question and sample index, and a summary of them."""
    from distillery.files import read_json_lines, write_json
    from distillery.manifest import read_manifest
    from distillery.records import Question, read_records, write_records
    from distillery.sampling import Asker, sample
    from distillery.store import CompletionStore

    model = read_manifest(manifest)
    asker = Asker(manifest.parent / "model", model.identity, model.architecture, CompletionStore())
    shown = read_json_lines(exemplars)
    drawn, counts = sample(read_records(questions, Question), shown, spec, asker, sampler=sampler)
    write_records(completions, drawn)
    write_json(summary, counts)
    speed = asker.tokens / asker.seconds if asker.seconds else 0
    logger.info(
        "%d requests: %d from the store, %d drawn, %d tokens in %.0f s (%.0f tokens/s)",
        asker.asked, asker.asked - asker.drawn, asker.drawn, asker.tokens, asker.seconds, speed,
    )  # fmt: skip
    return {**asker.work, "parameters": model.parameters}


run_script("sample", main, globals())
