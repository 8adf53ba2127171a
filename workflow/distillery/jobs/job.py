"""What a job is: a stage with named inputs, outputs and parameters, and the key of everything that can change it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distillery.files import read_json, sha256_file
from distillery.hashing import digest_of

Paths = Path | list[Path]

ORDER_ONLY = "checked"
"""An input of this name makes a job wait for a check; the job does not compute from it."""


PROVENANCE = "provenance"
"""The output of this name is the record that `run` writes; a stage's `main` does not see it."""

NOT_FOR_MAIN = frozenset({"code", "libraries"})
"""Parameters that only name what runs."""


def key_of(stage: str, input_digests: Mapping[str, list[str]], params: Mapping[str, Any]) -> str:
    """Hex digest, 32 digits, of everything that can change the result of a job."""
    return digest_of({"stage": stage, "inputs": dict(input_digests), "params": dict(params)})


@dataclass(frozen=True)
class Job:
    """One job: a stage with named inputs, outputs and parameters.

    Args:
        params: Plain values. `code` and `libraries` name what runs; the rest reaches the script's `main`.
    """

    stage: str
    inputs: Mapping[str, Paths]
    outputs: Mapping[str, Path]
    params: Mapping[str, Any]
    threads: int = 1
    gpus: int = 0
    log: Path | None = None

    @classmethod
    def from_snakemake(cls, snakemake: Any, stage: str) -> "Job":
        """The job of the object that Snakemake hands to a script, or of a job in its graph."""

        def paths(files: Any) -> dict[str, Paths]:
            return {name: [Path(f) for f in value] if _is_list(value) else Path(value) for name, value in files.items()}

        return cls(
            stage=stage,
            inputs={name: value for name, value in paths(snakemake.input).items() if name != ORDER_ONLY},
            outputs=paths(snakemake.output),  # type: ignore[arg-type]  # outputs are single files and folders
            params=dict(snakemake.params.items()),
            threads=snakemake.threads,
            gpus=int(snakemake.resources.get("gpu", 0)),
            log=Path(snakemake.log[0]) if snakemake.log else None,
        )

    @cached_property
    def input_digests(self) -> dict[str, list[str]]:
        """SHA-256 of every input file, by input name, as the job found them."""
        return self.hash_inputs()

    def hash_inputs(self) -> dict[str, list[str]]:
        return {name: [sha256_file(path) for path in as_list(paths)] for name, paths in sorted(self.inputs.items())}

    @cached_property
    def key(self) -> str:
        """Hex digest, 32 digits, of everything that can change the result."""
        return key_of(self.stage, self.input_digests, self.params)

    @property
    def results(self) -> dict[str, Path]:
        """All outputs except for the provenance record, which describes this run."""
        return {name: Path(path) for name, path in self.outputs.items() if name != PROVENANCE}

    @property
    def progress(self) -> Path:
        """Where unfinished work of exactly this job lies; removed when the job is done."""
        return Path(os.environ.get("DISTILLERY_WORK", "work")) / self.stage / self.key


def job_of_record(path: Path) -> Job:
    """The job that a provenance record describes, ready to run again."""
    record = read_json(path)
    return Job(
        stage=record["stage"],
        inputs={
            name: [Path(f) for f in files] if record["many"].get(name) else Path(files[0])
            for name, files in record["inputs"].items()
        },
        outputs={name: Path(file) for name, file in record["outputs"].items()},
        params=record["params"],
        threads=record["threads"],
        gpus=record["gpus"],
    )


def as_list(paths: Paths) -> list[Path]:
    """The files of one named input."""
    return paths if isinstance(paths, list) else [paths]


def _is_list(value: object) -> bool:
    return not isinstance(value, str | os.PathLike)
