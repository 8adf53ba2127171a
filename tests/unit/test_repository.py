"""Properties of the tree itself: what may stand where."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "workflow" / "distillery").rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
RULE_FILES = [path for path in (ROOT / "Snakefile", *sorted((ROOT / "workflow").rglob("*.smk"))) if path.exists()]
PROFILES = sorted(path for path in (ROOT / "profiles").rglob("*.yaml"))

NEVER_IN_FILES = {
    # Written with [.] so that this file passes its own test.
    "host of a registry": r"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|registry[.]npmjs[.]"
    r"|deb[.]debian[.]org|(?:conda|repo)[.]anaconda[.]",
    "path of one machine": r"(?<![\w.}>*])/(?:home|Users)/[a-z]\w*|/root/[.\w]",
    "key or token": r"\bsk-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bAKIA[0-9A-Z]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY",
}

CHANGES_RESULTS = {  # keys of a Snakemake profile that choose what is computed, or hide that it is stale
    *("config", "replace-workflow-config", "pathvars", "set-scatter", "batch", "until", "omit-from", "allowed-rules"),
    *("touch", "force", "forceall", "forcerun", "ignore-incomplete", "consider-ancient"),
}


def repository_files():
    """Text files that git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        try:
            yield name, (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # pictures and archives; files removed but not yet committed


@pytest.mark.parametrize("what", NEVER_IN_FILES)
def test_no_file_names_a(what):
    pattern = re.compile(NEVER_IN_FILES[what])
    found = [
        f"{name}:{number}: {match[0]}"
        for name, text in repository_files()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := pattern.search(line))
    ]
    assert found == []


class UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of two equal keys win in silence; here they are an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value if key.value != "<<"]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


PARSERS = {
    ".yaml": lambda text: yaml.load(text, UniqueKeys),
    ".yml": lambda text: yaml.load(text, UniqueKeys),
    ".json": json.loads,
    ".jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    ".cff": lambda text: yaml.load(text, UniqueKeys),
}


def test_every_declarative_file_parses_and_says_nothing_twice():
    folders = [ROOT / name for name in ("config", "profiles", "envs", "workflow/schemas")]
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in PARSERS]
    for path in [*files, ROOT / "CITATION.cff"]:
        try:
            PARSERS[path.suffix](path.read_text(encoding="utf-8"))
        except (ValueError, yaml.YAMLError) as error:
            pytest.fail(f"{path.relative_to(ROOT)}: {error}")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_profile_holds_facts_about_machines_only(profile):
    settings = yaml.safe_load(profile.read_text()) or {}
    forbidden = CHANGES_RESULTS if profile.parent.name == "ci" else {*CHANGES_RESULTS, "configfile", "configfiles"}
    assert not settings.keys() & forbidden
    assert {"params", "input"} <= set(settings.get("rerun-triggers", ["params", "input"])), "hides stale results"


def test_scripts_see_the_config_through_params_only():
    assert [path.name for path in SCRIPTS if "snakemake.config" in path.read_text()] == []


def test_every_script_is_named_after_a_rule_and_every_script_of_a_rule_exists():
    text = "\n".join(path.read_text() for path in RULE_FILES)
    rules = set(re.findall(r"^\s*(?:rule|checkpoint) (\w+):", text, re.M)) | set(
        re.findall(r"^\s*use rule .* as (\w+)", text, re.M)
    )
    named = set(re.findall(r"scripts/(\w+)\.py", text))
    stems = {path.stem for path in SCRIPTS if path.stem != "__init__"}
    assert named == stems
    assert [stem for stem in stems if not any(rule == stem or rule.startswith(f"{stem}_") for rule in rules)] == []


def test_every_module_stays_under_500_lines():
    assert [str(path.relative_to(ROOT)) for path in LIBRARY if len(path.read_text().splitlines()) > 500] == []


def imported(path):
    """Top-level names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def test_only_the_reader_of_the_graph_knows_snakemake():
    assert [path.name for path in LIBRARY if "snakemake" in imported(path)] == ["snakemake_graph.py"]


def test_every_import_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    providers = metadata.packages_distributions()
    ours = {"distillery", *sys.stdlib_module_names}
    undeclared = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*LIBRARY, *SCRIPTS]
        for name in set(imported(path)) - ours
        if not {canonicalize_name(provider) for provider in providers.get(name, [name])} & declared
    }
    assert undeclared == set()
