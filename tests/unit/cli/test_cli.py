"""The command line tells a user whether the declarative files are sound."""

from pathlib import Path

from typer.testing import CliRunner

from distillery.cli import app
from distillery.files import write_json

REPOSITORY = Path(__file__).parents[3]


def test_check_lists_the_tables_of_sound_files():
    told = CliRunner().invoke(
        app, ["check", str(REPOSITORY / "config/config.yaml"), "--config", str(REPOSITORY / "config")]
    )
    assert told.exit_code == 0
    assert "miniature_ablations" in told.output


def test_check_names_the_fault_and_fails(tmp_path):
    settings = tmp_path / "mine.yaml"
    settings.write_text("experiments: [nope]\n")
    told = CliRunner().invoke(app, ["check", str(settings), "--config", str(REPOSITORY / "config")])
    assert told.exit_code == 1
    assert "nope" in told.output


def test_times_add_up_what_the_records_say(tmp_path):
    for number, seconds in enumerate((1.0, 2.0, 4.0)):
        stage = "train" if number else "sample"
        write_json(tmp_path / str(number) / "provenance.json", {"stage": stage, "seconds": seconds})
    told = CliRunner().invoke(app, ["times", str(tmp_path)])
    assert told.exit_code == 0
    lines = [line.replace("│", " ").split() for line in told.output.splitlines()]
    assert ["train", "2", "6", "4"] in lines
    assert ["all", "3", "7", "4"] in lines
