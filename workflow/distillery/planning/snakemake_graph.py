"""The graph of jobs as Snakemake sees it now: for tools that explain and estimate, without running anything.

Everything that depends on Snakemake's inner ways is in this module; the version is pinned.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.jobs.job import PROVENANCE, Job

TRIGGERS = ("params", "input", "mtime", "software-env")
"""What the profiles of this workflow let Snakemake look at; see profiles/default."""


@dataclass(frozen=True)
class Node:
    """A job of the graph.

    `planned`: Snakemake would start it. `reason`: why, in Snakemake's words.
    """

    rule: str
    job: Job
    planned: bool
    reason: str

    @property
    def main_output(self) -> Path:
        """The output that names a job best: its first."""
        return next(iter(self.job.results.values()))

    @property
    def record(self) -> Path | None:
        """Where its provenance record lies, or will lie."""
        return self.job.outputs.get(PROVENANCE)


class UnknownOutput(UserError):
    """No rule of the workflow makes one of the targets."""

    def __init__(self, targets: Sequence[str]) -> None:
        super().__init__("no rule makes this", key="target", value=", ".join(targets))


@dataclass(frozen=True)
class RunOptions:
    """What options of `snakemake` say about the graph: its targets, and the settings laid over config/config.yaml."""

    targets: tuple[str, ...] = ()
    configfiles: tuple[Path, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


def read_options(arguments: Sequence[str]) -> RunOptions:
    """The options of a run, read as `snakemake` reads them, those of its profile included.

    Raises:
        UserError: Snakemake does not take them.
    """
    from snakemake.cli import parse_args, parse_config

    try:
        with suppress_stderr():
            given = parse_args(list(arguments))[1]
        return RunOptions(tuple(given.targets), tuple(given.configfile), parse_config(given.config))
    except (SystemExit, Exception) as error:
        raise UserError(
            f"Snakemake does not take these{'' if isinstance(error, SystemExit) else f': {error}'}",
            key="options",
            value=" ".join(arguments),
            remedy="`snakemake --help` lists the known ones",
        ) from error


def read_graph(
    targets: Sequence[str] = (), configfiles: Sequence[Path] = (), config: Mapping[str, Any] | None = None
) -> list[Node]:
    """Every job behind some targets, inputs first; without targets, behind all tables of the settings.

    Raises:
        UserError: The workflow cannot be planned: a fault in the settings. `UnknownOutput`: no rule makes a target.
    """
    from snakemake.api import SnakemakeApi
    from snakemake.exceptions import MissingRuleException
    from snakemake.settings.enums import Quietness, RerunTrigger
    from snakemake.settings.types import (
        ConfigSettings,
        DAGSettings,
        DeploymentSettings,
        OutputSettings,
        ResourceSettings,
        WorkflowSettings,
    )

    snakefile = Path("Snakefile")
    if not snakefile.exists():
        raise UserError("no Snakefile here", file=snakefile, remedy="Change to the folder of the workflow")
    try:
        with suppress_stderr(), SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, enable_file_logging=False)) as api:
            dag_api = api.workflow(
                resource_settings=ResourceSettings(cores=os.cpu_count() or 1),
                config_settings=ConfigSettings(configfiles=tuple(configfiles), config=config or {}),
                workflow_settings=WorkflowSettings(),
                deployment_settings=DeploymentSettings(),
                snakefile=snakefile,
            ).dag(
                DAGSettings(
                    targets=frozenset(targets),
                    rerun_triggers=frozenset(RerunTrigger.parse_choice(trigger) for trigger in TRIGGERS),
                )
            )
            workflow = dag_api.workflow_api._workflow
            workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True, nolock=True)
            workflow._build_dag()
            return list(_nodes(workflow.dag))
    except UserError:
        raise
    except MissingRuleException as error:
        raise UnknownOutput(targets) from error
    except Exception as error:  # Snakemake raises many kinds; each tells in words what is wrong
        raise UserError(
            f"the workflow cannot be planned: {str(error).strip() or type(error).__name__}",
            remedy="`snakemake -n` says more",
        ) from error


def _nodes(dag: Any) -> Iterator[Node]:
    for level in dag.toposorted():
        for job in sorted(level, key=lambda made: str(next(iter(made.output), ""))):
            if job.rule.script is not None:
                planned = dag.needrun(job)
                yield Node(
                    rule=job.rule.name,
                    job=Job.from_snakemake(job, Path(str(job.rule.script)).stem),
                    planned=planned,
                    reason=" ".join(str(dag.reason(job)).split()) if planned else "",
                )


@contextmanager
def suppress_stderr() -> Iterator[None]:
    """Send what Snakemake prints while it plans to nowhere."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        before, sys.stderr = sys.stderr, nowhere
        try:
            yield
        finally:
            sys.stderr = before
