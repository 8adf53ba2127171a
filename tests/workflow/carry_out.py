"""Plan a project with Snakemake and carry its jobs out here, one after another, in one process.

    python carry_out.py plan FILE TARGET...    write the jobs, with inputs and parameters, to FILE
    python carry_out.py run FILE TARGET...     the same, then run each job's script, as its rule says

Inputs and parameters come from the rules and code from the scripts, as in any run. Saved is a Python process for each
job, which would load the same libraries for seconds. Run it in the project's folder, with its library on PYTHONPATH.
"""

import json
import os
import runpy
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from distillery.planning.snakemake_graph import read_graph

NAME_VARIABLE = "SCRIPTED_ENDPOINT"
"""`host:port`: connections to the host go to that port of this machine. Models name one address in every run."""


def reach_endpoint() -> None:
    host, _, port = os.environ.get(NAME_VARIABLE, "").partition(":")
    ask = socket.getaddrinfo

    def getaddrinfo(name, service, *arguments, **options):
        return (
            ask("127.0.0.1", port, *arguments, **options) if name == host else ask(name, service, *arguments, **options)
        )

    if host:
        socket.getaddrinfo = getaddrinfo


def as_text(files):
    return [str(file) for file in files] if isinstance(files, list) else str(files)


def main(mode: str, report: str, *targets: str) -> None:
    nodes = read_graph(targets)
    jobs = [
        {
            "rule": node.rule,
            "stage": node.job.stage,
            "inputs": {name: as_text(files) for name, files in node.job.inputs.items()},
            "outputs": {name: as_text(files) for name, files in node.job.outputs.items()},
            "params": dict(node.job.params),
        }
        for node in nodes
    ]
    environment = {name: value for name, value in os.environ.items() if name.startswith("DISTILLERY_")}
    Path(report).write_text(json.dumps({"jobs": jobs, "environment": environment}, indent=1, default=str))
    reach_endpoint()
    for node in nodes if mode == "run" else []:
        start = time.monotonic()
        stand_in = SimpleNamespace(
            input=node.job.inputs,
            output=node.job.outputs,
            params=node.job.params,
            threads=1,
            resources={},
            log=[str(node.job.log)] if node.job.log else [],
        )
        runpy.run_path(f"workflow/scripts/{node.job.stage}.py", init_globals={"snakemake": stand_in})
        print(f"{time.monotonic() - start:6.1f} s  {node.rule}  {node.main_output}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
