"""The code digest of a stage: what must change it does, what must not does not."""

import shutil
from pathlib import Path

import pytest

from distillery.jobs import code_digest as codedigest

REPOSITORY = Path(__file__).parents[3]
SCRIPTS = sorted((REPOSITORY / "workflow/scripts").glob("*.py"))


def names(script: str) -> set[str]:
    """Library modules in the closure of a script, as dotted paths below the package."""
    library = codedigest.LIBRARY
    found = codedigest.closure(REPOSITORY / "workflow/scripts" / f"{script}.py")
    return {
        str(path.relative_to(library).with_suffix("")).replace("/", ".") for path in found if library in path.parents
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_stage_names_what_it_runs(script):
    """`pytest -s` prints it: a stage that imports too much is stale too often."""
    print(script.stem, *sorted(names(script.stem)))
    assert script in codedigest.closure(script)


def test_stages_import_only_what_decides_their_output():
    assert {"verification.graders", "verification.verify"} <= names("verify")

    def rooms(script: str) -> set[str]:
        return {name.split(".")[0] for name in names(script)}

    assert rooms("verify").isdisjoint({"sampling", "training", "evaluation"})
    assert rooms("sample").isdisjoint({"verification", "training", "evaluation"})
    assert rooms("train").isdisjoint({"verification", "sampling", "tasks", "evaluation"})
    assert rooms("score").isdisjoint({"sampling", "training"}) and "evaluation.tables" not in names("score")
    assert rooms("tables").isdisjoint({"verification", "sampling", "training"})
    for stage in ("ask_teachers", "peer_review"):
        assert rooms(stage).isdisjoint({"verification", "training", "evaluation"})
        assert "peer_review.acceptance" not in names(stage)
    assert rooms("compose_pairs").isdisjoint({"sampling", "verification", "training"})
    assert names("compose_pairs").isdisjoint({"peer_review.ask", "peer_review.audit"})
    assert rooms("questions").isdisjoint({"verification", "sampling", "training", "evaluation"})
    assert "sampling.backends.vllm" in names("sample"), "imports inside functions count too"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library whose files may be edited."""
    copy = tmp_path / "workflow" / "distillery"
    shutil.copytree(REPOSITORY / "workflow/distillery", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "workflow/scripts", tmp_path / "workflow" / "scripts")
    monkeypatch.setattr(codedigest, "LIBRARY", copy)
    return copy


def digest(library: Path, stage: str) -> str:
    for cached in (codedigest._closure, codedigest._source, codedigest._module_file):
        cached.cache_clear()
    return codedigest.code_digest(library.parent / "scripts" / f"{stage}.py")


EDITS = {
    "a comment": ("verification/graders.py", lambda text: text + "\n# a remark\n", set()),
    "a docstring": ("verification/graders.py", lambda text: text.replace('"""', '"""So it is. ', 1), set()),
    "blank lines": ("verification/verify.py", lambda text: text.replace("\n\n\n", "\n\n\n\n"), set()),
    "a neutral module": ("errors.py", lambda text: text + "\nX = 1\n", set()),
    "a settings model": ("config/recipe.py", lambda text: text + "\nX = 1\n", set()),
    "the grader": (
        "verification/graders.py",
        lambda text: text + "\nX = 1\n",
        {"verify", "verify_rationales", "score"},
    ),
    "the figures": ("evaluation/figures.py", lambda text: text + "\nX = 1\n", {"output_space", "tables"}),
    "the engine": (
        "sampling/backends/vllm.py",
        lambda text: text + "\nX = 1\n",
        {"refine", "sample", "search", "ask_teachers", "peer_review"},
    ),
}


@pytest.mark.parametrize(("file", "change", "stale"), EDITS.values(), ids=EDITS)
def test_an_edit_makes_stale_exactly_the_stages_that_run_the_code(library, file, change, stale):
    stages = [script.stem for script in SCRIPTS if not script.stem.startswith("check_")]
    before = {stage: digest(library, stage) for stage in stages}
    path = library / file
    path.write_text(change(path.read_text()))
    assert {stage for stage in stages if digest(library, stage) != before[stage]} == stale


def test_the_place_of_the_library_changes_nothing(library, monkeypatch):
    moved = digest(library, "verify")
    monkeypatch.setattr(codedigest, "LIBRARY", REPOSITORY / "workflow/distillery")
    assert digest(REPOSITORY / "workflow/distillery", "verify") == moved
