"""The command line as a whole: help, version, messages outside a project, and the commands check and times."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from distillery.cli import app
from distillery.files import write_json

REPOSITORY = Path(__file__).parents[3]


def all_commands():
    """Every command and group of commands, as typed."""

    def below(command, words):
        yield words
        for name, sub in getattr(command, "commands", {}).items():
            yield from below(sub, [*words, name])

    return list(below(typer.main.get_command(app), []))


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_help_is_whole_at_80_columns(command, words):
    lines = command(*words, "--help").output.splitlines()
    assert lines[0].startswith("Usage:") and max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("name", ["why", "plan", "accept"])
def test_help_shows_the_brackets_of_a_cell(command, name):
    assert "experiment/recipe[/model][/task][/seedN]" in command(name, "--help").output


def test_the_version_is_that_of_the_package(command):
    import tomllib

    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert command("--version").output == f"distillery {declared}\n"


@pytest.mark.parametrize(
    "words",
    [["check"], ["plan"], ["plan", "x"], ["why", "miniature/pad"], ["times"], ["accept", "x", "--reason", "y"],
     ["cache", "gc"], ["store", "gc"]],
    ids=" ".join,
)  # fmt: skip
def test_outside_a_project_a_command_prints_one_line(command, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    done = command(*words, fails=True)
    assert done.output.count("\n") == 1 and done.output.endswith("\n")
    assert list(tmp_path.iterdir()) == []


def test_check_lists_the_tables_of_sound_files(command):
    output = command("check", REPOSITORY / "config/config.yaml", "--config", REPOSITORY / "config").output
    lines = output.split("not runnable here")[0].splitlines()
    cells = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
    assert cells["miniature"] == ["arithmetic", "10", "10", "yes"]
    assert cells["miniature_ablations"][-1] == "no"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: [nope]\n", "nope"),
        ("a: [\n", "not valid YAML"),
        ("- a\n", "must hold a mapping"),
        (None, "cannot be read"),
    ],
)
def test_check_names_the_fault_and_fails(command, tmp_path, text, message):
    settings = tmp_path / "mine.yaml"
    if text is not None:
        settings.write_text(text)
    done = command("check", settings, "--config", REPOSITORY / "config", fails=True)
    assert message in done.output and done.output.count("\n") == 1


def test_check_uses_the_library_of_the_folder_that_it_checks(tmp_path):
    """A checkout whose library knows another version: the installed library hands over to it."""
    shutil.copytree(REPOSITORY / "workflow/distillery", tmp_path / "workflow/distillery")
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    load = tmp_path / "workflow/distillery/config/load.py"
    load.write_text(load.read_text() + "\nraise SystemExit('the library of this folder')\n")
    arguments = ["check", str(tmp_path / "config/config.yaml"), "--config", str(tmp_path / "config")]
    done = subprocess.run(
        [sys.executable, "-m", "distillery.cli", *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow")},
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
    )
    assert "the library of this folder" in done.stderr, done.stdout + done.stderr


def test_times_add_up_what_the_records_say(command, tmp_path):
    for number, seconds in enumerate((1.0, 2.0, 4.0)):
        stage = "train" if number else "sample"
        write_json(tmp_path / str(number) / "provenance.json", {"stage": stage, "seconds": seconds})
    (tmp_path / "provenance.json").write_text("not json")
    lines = [line.split() for line in command("times", tmp_path).output.splitlines()]
    assert ["train", "2", "6", "4"] in lines
    assert ["all", "3", "7", "4"] in lines


def test_the_schemas_are_written_below_the_folder_that_is_named(command, tmp_path):
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    shutil.copytree(REPOSITORY / "workflow/schemas", tmp_path / "workflow/schemas")
    schema = tmp_path / "workflow/schemas/recipe.schema.json"
    before = schema.read_bytes()
    schema.write_text("{}")
    command("schemas", "--root", tmp_path)
    assert schema.read_bytes() == before
