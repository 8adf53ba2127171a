# The checked workspace, and the ways in which rules ask the library: nothing is decided here.
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from snakemake.exceptions import WorkflowError

SETTINGS = "config/config.yaml"
LIBRARY = str(Path(workflow.basedir, "workflow").resolve())
sys.path.insert(0, LIBRARY)
# Snakemake imports logger plugins at its start, and ours an installed library: the one beside this Snakefile takes its place.
if not str(getattr(sys.modules.get("distillery"), "__file__", f"{LIBRARY}/")).startswith(os.path.join(LIBRARY, "")):
    for name in [name for name in sys.modules if name.partition(".")[0] == "distillery"]:
        del sys.modules[name]
# Jobs import the library beside this Snakefile, even if another version is installed.
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [LIBRARY, os.environ.get("PYTHONPATH")])))

from distillery.config.base import plain
from distillery.config.source import read_source
from distillery.errors import UserError
from distillery.jobs.code_digest import code_digest, library_versions
from distillery.jobs.locks import hold_for_life
from distillery.planning.wiring import (
    committee_inputs,
    prediction_inputs,
    source_inputs,
    table_cells,
    training_inputs,
)
from distillery.planning.wiring.committee_inputs import for_recipe
from distillery.planning.wiring.paths import PATHS, fill
from distillery.programs.run import SANDBOX_VARIABLE
from distillery.registry import load_workspace
from distillery.sampling.budget import LIMITS_VARIABLE, PRICES_VARIABLE, RUN_VARIABLE
from distillery.temporary import remove_all_abandoned

# Snakemake's own reader ends in a traceback where a text is not UTF-8, and of two equal keys it keeps the last.
faults = []
if Path(SETTINGS).exists():
    read_source(Path(SETTINGS), faults)
if faults:
    raise WorkflowError("The configuration has faults:", *map(str, faults))


configfile: SETTINGS


try:
    workspace = load_workspace(config)
except UserError as error:
    raise WorkflowError(f"The configuration has faults:\n{error}") from None


# Budget and sandbox do not change what a job makes, so jobs get them through the environment and not as parameters.
os.environ.setdefault(RUN_VARIABLE, f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}")
os.environ[LIMITS_VARIABLE] = json.dumps(plain(workspace.settings.budget))
os.environ[SANDBOX_VARIABLE] = workspace.settings.sandbox
os.environ[PRICES_VARIABLE] = json.dumps(workspace.prices())


def hold_folder():
    """Refuse to run beside another run in this folder; unlike Snakemake's own lock, this one dies with its owner.

    Then remove the temporary copies that killed jobs left.
    """
    holder = hold_for_life(Path(".snakemake", "distillery.lock"))
    if holder:
        raise WorkflowError(f"Another run is at work in this folder: {holder}. Wait for it, or end it.")
    for folder in (
        "results",
        os.environ.get("DISTILLERY_WORK", "work"),
        os.environ.get("DISTILLERY_DOWNLOADS", "downloads"),
    ):
        remove_all_abandoned(Path(folder))


def any_of(names):
    """Pattern of a wildcard: exactly these names, so that no path can mean two things."""
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "none-declared"


def ask(function):
    """The answer of a function of (workspace, wildcards), as an input function or parameter of a rule."""
    return lambda wildcards: function(workspace, wildcards)


def wildcard(name, kind=str):
    """The value of a wildcard, as a parameter."""
    return lambda wildcards: kind(wildcards[name])


def stage(script):
    """Parameters of every job. Snakemake does not see imports, so an edit of the library must show as a parameter."""
    return {
        "code": code_digest(Path(workflow.basedir, "workflow", "scripts", f"{script}.py")),
        "libraries": library_versions(script),
    }


MODELS = any_of(workspace.models)
RECIPES = any_of(workspace.recipe_names())
SETUPS = any_of(workspace.setups)
TRAINED = fill(
    "<trained_student>", setup=f"(?:{SETUPS})", recipe=f"(?:{RECIPES})", model=f"(?:{MODELS})", seed="[0-9]+"
)
STUDENTS = f"(?:{MODELS})|{TRAINED}"
PEOPLE = any_of(person for committee in workspace.committees.values() for person in committee.people)
