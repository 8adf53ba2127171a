"""The command line tells a user whether the declarative files are sound."""

from pathlib import Path

from typer.testing import CliRunner

from distillery.cli import app

REPOSITORY = Path(__file__).parents[2]


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
