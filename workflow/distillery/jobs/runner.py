"""Running one job of a stage: from the artifact cache where it has the result, else by the stage's own code.

A script ends with `run_script(<stage>, main, globals())`; the rule's named inputs, outputs and params become keyword
arguments of its `main`. The same script runs by hand from any provenance record:
`python workflow/scripts/verify.py results/.../provenance.json`.

    key = stage + input digests + parameters + code digest + library versions

names everything that can change the result. A job whose key the cache knows is restored in milliseconds, so scripts
import heavy libraries inside `main`, and this module imports none. Progress (training checkpoints) lies in
`work/<stage>/<key>/`, so that only the same job resumes it. Inputs are hashed before the job and after it.
"""

import contextlib
import inspect
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distillery.disk_faults import disk_fault
from distillery.errors import UserError
from distillery.files import read_json, write_json
from distillery.jobs.cache import ArtifactCache
from distillery.jobs.gpus import claimed_gpus
from distillery.jobs.job import NOT_FOR_MAIN, PROVENANCE, Job, as_list, job_of_record
from distillery.jobs.locks import check_locks
from distillery.jobs.provenance import known, placed, provenance
from distillery.logs import log_to, report

logger = logging.getLogger(__name__)

Main = Callable[..., Mapping[str, Any] | None]
"""What a script does; it may return counts of its work, for the provenance record."""


def run_script(stage: str, main: Main, namespace: Mapping[str, Any]) -> None:
    """Run `main` for Snakemake (`namespace` holds its object) or by hand (the command line names a provenance record).

    A script that is imported, as in tests, runs nothing.
    """
    if "snakemake" in namespace:
        job = Job.from_snakemake(namespace["snakemake"], stage)
    elif namespace.get("__name__") == "__main__":
        if len(sys.argv) != 2:
            sys.exit(f"usage: {Path(sys.argv[0]).name} <provenance.json of a job of this stage>")
        job = job_of_record(Path(sys.argv[1]))
    else:
        return
    log_to(job.log)
    try:
        run(job, main)
    except UserError as error:
        report(error)
        sys.exit(1)


def run(job: Job, main: Main) -> None:
    """Restore the outputs of a job from the artifact cache, or run `main`, keep what it made and write its record.

    Raises:
        UserError: An input changed while the job ran; its outputs belong to no version of it. Or the job was stopped,
            and another process took over. Or a disk is full, read-only or closed to this user; the error names the
            path.
    """
    try:
        _run(job, main)
    except Exception as error:
        if isinstance(error, UserError) and error.__cause__ is None:
            raise
        fault = disk_fault(error, [*job.outputs.values(), job.progress])
        if fault is None:
            raise
        logger.debug("the disk's fault", exc_info=error)
        raise fault from error


def _run(job: Job, main: Main) -> None:
    start = time.monotonic()
    cache = ArtifactCache.from_environment()
    if _restored(job, cache, start):
        return
    with cache.lock(job.key, f"this {job.stage} job") as waited:
        if waited and _restored(job, cache, start):
            return
        _compute(job, main, cache)


def _restored(job: Job, cache: ArtifactCache, start: float) -> bool:
    entry = cache.find(job.key, job.results)
    if entry is None or not cache.restore(entry, job.results):
        return False
    if PROVENANCE in job.outputs:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        this = known(job, {name: made.files[""].sha256 for name, made in entry.outputs.items() if not made.folder})
        write_json(job.outputs[PROVENANCE], {**entry.record, **this, **placed(job), "restored": now})
    shutil.rmtree(job.progress, ignore_errors=True)
    logger.info(
        "%s restored from the cache in %.2f s: computed on %s, at %s, in %.0f s",
        job.stage,
        time.monotonic() - start,
        entry.record.get("host"),
        entry.record.get("finished"),
        entry.record.get("seconds", 0),
    )
    return True


def _compute(job: Job, main: Main, cache: ArtifactCache) -> None:
    set_threads(job.threads)
    started = datetime.now(UTC)
    extra = {"progress": job.progress} if "progress" in inspect.signature(main).parameters else {}
    params = {name: value for name, value in job.params.items() if name not in NOT_FOR_MAIN}
    given = {name: paths for name, paths in job.inputs.items() if paths != [] or not _optional(main, name)}
    with claimed_gpus(0 if _asks_an_endpoint(job) else job.gpus):
        work = main(**given, **job.results, **params, **extra)
    changed = [name for name, digests in job.hash_inputs().items() if digests != job.input_digests[name]]
    if changed:
        raise UserError(
            "changed while the job ran, so that its result belongs to no version of it",
            file=", ".join(str(path) for name in changed for path in as_list(job.inputs[name])),
            remedy="Run the workflow again",
        )
    check_locks()  # a job that was stopped meanwhile, and computed by another process, publishes nothing
    record = provenance(job, started, datetime.now(UTC), work)
    cache.store(job.key, job.stage, job.results, record)  # first: where no record can be written, the work is not lost
    if PROVENANCE in job.outputs:
        write_json(job.outputs[PROVENANCE], record)
    shutil.rmtree(job.progress, ignore_errors=True)
    logger.info("%s computed in %.1f s", job.stage, record["seconds"])


def _asks_an_endpoint(job: Job) -> bool:
    """Whether the model of the job runs on another machine, so that it needs no GPU of this one."""
    manifest = job.inputs.get("manifest")
    with contextlib.suppress(ValueError, AttributeError):  # a damaged manifest is the stage's matter
        return isinstance(manifest, Path) and read_json(manifest).get("architecture") == "api"
    return False


def _optional(main: Callable[..., object], name: str) -> bool:
    """Is this input one that a rule may leave empty?"""
    return inspect.signature(main).parameters[name].default is None


def set_threads(threads: int) -> None:
    """Tell numeric libraries, before they are imported, how many cores this job has."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # Threads that spin while they wait gain 5 % on an idle machine and lose a factor of eight on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
