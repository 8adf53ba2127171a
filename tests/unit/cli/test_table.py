"""A finished table in short: the rows of README.md, its pages, and a question that `why` can answer."""

import itertools
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from distillery.cli.tables import _target
from distillery.cli.targets import outputs_of
from distillery.errors import UserError
from distillery.planning.snakemake_graph import RunOptions, read_options
from distillery.registry import load_workspace

ROOT = Path(__file__).parents[3]


def cell(recipe, model="m", task="t", seed=1, *, trained=True):
    return {"recipe": recipe, "model": model, "task": task, "seed": seed, "costs": ["summary.json"] if trained else []}


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A folder with the measured table of README.md, as a run leaves it."""
    folder = tmp_path / "results/tables/miniature"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "docs/measured/miniature.csv", folder / "table.csv")
    cells = [
        cell("zero-shot", trained=False),
        cell("pad", seed=3),
        cell("pad", seed=4),
        cell("zero-shot-cot", trained=False),
    ]
    (folder / "provenance.json").write_text(json.dumps({"params": {"cells": cells}}))
    monkeypatch.chdir(tmp_path)
    return folder


def words(line):
    return re.split(r" {2,}", line.strip())


def test_the_short_table_has_the_rows_of_the_readme(finished, command):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- measured: miniature -->\n(.*?)\n\n", readme, re.DOTALL)[1].splitlines()
    expected = [list(filter(None, map(str.strip, line.split("|")))) for line in block if "---" not in line]
    lines = command("table", "miniature").output.splitlines()
    assert [words(lines[0]), *map(words, lines[2 : 1 + len(expected)])] == expected


def test_below_the_table_are_its_pages_and_a_command_that_names_one_cell(finished, command):
    said = command("table", str(finished / "table.md"), "--", "--cores", "2", "--configfile", "config/a b.yaml").output
    assert f"{finished}/table.html\n" in said and f"{finished}/table.md\n" in said
    asked = re.search(r"distillery (why .*)", said)[1]
    assert shlex.split(asked) == ["why", "miniature/pad/seed3", "--configfile", "config/a b.yaml"]


def test_a_table_of_several_tasks_names_them_and_one_without_accuracy_has_an_empty_field(finished, command):
    rows = (finished / "table.csv").read_text().splitlines()
    other = rows[2].replace("arithmetic,", "shuffled,").replace(",3.5,1.7,7.0,", ",,,,", 1)
    (finished / "table.csv").write_text("\n".join([*rows, other]))
    lines = command("table", "miniature").output.splitlines()
    assert words(lines[0])[0] == "task" and words(lines[2])[0] == "arithmetic"
    assert ["shuffled", "smollm2-135m", "Zero-shot"] in map(words, lines)


def test_a_table_that_was_not_made_is_named(finished, command):
    assert "results/tables/other/table.csv: there is no such table yet" in command("table", "other", fails=True).output


CELLS = [cell(*names) for names in itertools.product(("pad", "mapd"), ("m", "n"), ("t", "u"), (1, 2))]


@pytest.mark.parametrize("number", range(len(CELLS)))
@pytest.mark.parametrize("kept", [{}, {"model": "m"}, {"task": "t"}, {"seed": 1}, {"model": "m", "seed": 1}])
def test_a_target_means_one_cell_by_the_rule_of_targets(number, kept):
    cells = [other for other in CELLS if all(other[key] == value for key, value in kept.items())]
    asked = cells[number % len(cells)]
    parts = set(_target(asked, cells))
    assert [other for other in cells if parts <= {*map(str, list(other.values())[:3]), f"seed{other['seed']}"}] == [
        asked
    ]


def test_targets_of_the_default_are_cells(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert outputs_of(["miniature/mapd"], None)[0].startswith("results/")


def test_options_are_read_as_snakemake_reads_them():
    given = [
        "--cores",
        "2",
        "--logger",
        "distillery",
        "--configfile",
        "a.yaml",
        "b.yaml",
        "--config",
        "budget={samples: 1}",
        "--",
        "t",
    ]
    assert read_options(given) == RunOptions(("t",), (Path("a.yaml"), Path("b.yaml")), {"budget": {"samples": "1"}})
    with pytest.raises(UserError, match="--nonsense"):
        read_options(["--nonsense"])


def test_options_of_a_profile_count(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_options(["--workflow-profile", "profiles/ci"]).configfiles == (Path("config/small.yaml"),)


def made_by(*arguments):
    """The lines that `make demo` would run."""
    return subprocess.run(["make", "-n", "demo", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def options_in(line, program):
    """The options of a command in such a line, as the shell gives them to the program."""
    echoed = subprocess.run(
        ["bash", "-c", re.sub(rf"^.*?{program}", r"printf '%s\\0'", line)], capture_output=True, text=True, check=True
    )
    return echoed.stdout.split("\0")[:-1]


@pytest.mark.parametrize("table", ["miniature", "pad_sweeps"])
@pytest.mark.parametrize("more", [[], ["SNAKEMAKE_OPTIONS=--configfile config/small.yaml"]])
def test_seeds_of_make_demo_reach_the_run_and_its_forecast(table, more, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = made_by("SEEDS=3", f"TABLE=results/tables/{table}/table.md", *more)
    ran = next(line for line in done.stdout.splitlines() if line.startswith(".venv/bin/snakemake"))
    planned = next(line for line in done.stdout.splitlines() if "distillery plan" in line)
    options = read_options(options_in(ran, "snakemake"))
    assert read_options(options_in(planned.partition(" > ")[0], "plan .* --run --")) == options
    assert options.configfiles == tuple(Path("config/small.yaml") for _ in more)
    workspace = load_workspace({"experiments": [table], **options.config})
    assert workspace.experiments[table].seeds == [1, 2, 3]


def test_seeds_beside_a_config_that_would_replace_them_are_refused():
    done = made_by("SEEDS=3", "SNAKEMAKE_OPTIONS=--config budget={samples: 1}")
    assert done.returncode != 0 and "SEEDS and --config cannot be given together" in done.stderr
    assert made_by("SNAKEMAKE_OPTIONS=--config budget={samples: 1}").returncode == 0
