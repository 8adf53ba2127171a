"""CONTRIBUTING.md is followed, block by block, on a copy of the project; then the result runs.

Each block names its file in the first line. A `diff` adds lines behind a line that must be there, and removes lines.
"""

import csv
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```(python|yaml|diff)\n\s*# (\S+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def follow(project, section: str) -> None:
    """Carry out the blocks of one section of CONTRIBUTING.md."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = BLOCK.findall(text)
    assert blocks
    for indent, kind, file, body in blocks:
        body = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        path = project.root / file
        if kind == "diff":
            path.write_text(patched(path.read_text(), body))
        elif path.exists():
            path.write_text(path.read_text() + "\n\n" + body)
        else:
            path.write_text(body)


def patched(text: str, diff: str) -> str:
    """`text` with each `+` line of the diff behind the line before it, and without the `-` lines."""
    lines = text.splitlines()
    at = 0
    for line in diff.splitlines():
        if line.startswith("+"):
            at += 1
            lines.insert(at, line[1:])
        elif line.startswith("-"):
            at = lines.index(line[1:]) - 1
            del lines[at + 1]
        else:
            at = lines.index(line[1:])
    return "\n".join(lines) + "\n"


def python(project, code: str, *, check: bool = True) -> subprocess.CompletedProcess:
    """Run code with the library of the project's copy."""
    environment = {**os.environ, "PYTHONPATH": str(project.root / "workflow"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=project.root, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


LOAD = """
from distillery.errors import UserError
from distillery.registry import load_workspace
try:
    load_workspace({"experiments": ["tiny"]})
except UserError as error:
    print(error)
"""


def faults(project) -> str:
    """What `check` has to say about the settings."""
    return python(project, LOAD).stdout


QUESTIONS = """
import importlib, sys, yaml
from pathlib import Path
sys.path.insert(0, "workflow/scripts")
out = Path("made")
splits = {name: out / f"{name}.jsonl" for name in ("train", "dev", "test")}
spec = yaml.safe_load(Path("config/tasks/NAME.yaml").read_text())
shown = out / "exemplars.jsonl"
importlib.import_module("questions").main(**splits, exemplars=shown, summary=out / "summary.json", spec=spec)
importlib.import_module("check_task").main(
    list(splits.values()), splits["test"], shown, out / "checked.json", spec
)
"""


def questions_of(project, task: str) -> list[dict]:
    """Questions of a task by the scripts of the project, after its gold answers passed its graders."""
    python(project, QUESTIONS.replace("NAME", task))
    return [json.loads(line) for line in (project.root / "made" / "train.jsonl").read_text().splitlines()]


def test_reading_settings_imports_no_heavy_library(project):
    code = """
    import sys, distillery.registry
    print([name for name in ("torch", "transformers", "trl", "vllm", "datasets", "numpy") if name in sys.modules])
    """
    assert python(project, code).stdout == "[]\n"


def test_a_task_is_one_file(project):
    follow(project, "Add a task")
    assert faults(project) == ""
    questions = questions_of(project, "addition")
    assert len(questions) == 20 and all(question["gold"].lstrip("-").isdigit() for question in questions)


def test_a_generator_is_one_module_and_its_name(project):
    task = {"task": "twice", "title": "Twice", "answer": "number", "sizes": {"train": 9, "test": 5}}
    task["source"] = {"kind": "generator", "generator": "doubling", "options": {"most": 60}}
    (project.root / "config/tasks/twice.yaml").write_text(yaml.safe_dump(task))
    assert "config/tasks/twice.yaml" in faults(project) and "known: arithmetic" in faults(project)
    follow(project, "Add a question generator")
    assert faults(project) == ""
    for question in questions_of(project, "twice"):
        (number,) = re.findall(r"\d+", question["question"])
        assert int(question["gold"]) == 2 * int(number) and int(number) <= 60


def test_a_grader_is_one_module_and_its_name(project):
    task = {"task": "roman", "title": "Roman", "answer": "roman", "gold": "{{ numeral }}", "question": "{{ q }}"}
    task["source"] = {"kind": "file", "files": {"train": "roman.jsonl", "test": "roman.jsonl"}}
    (project.root / "config/tasks/roman.yaml").write_text(yaml.safe_dump(task))
    (project.root / "roman.jsonl").write_text('{"q": "What is 14 in Roman?", "numeral": "XIV"}\n')
    assert "no such grader" in faults(project)
    follow(project, "Add a grader")
    assert faults(project) == ""
    judged = """
    from distillery.verification.graders import DEFAULT_GRADERS, grade
    for text in ("Ten and four. --> XIV", "I think --> it is XV", "XIV"):
        print([grade(text, None, "stop", "XIV", grader, "-->").outcome.value
               for grader in DEFAULT_GRADERS["roman"].values()])
    """
    assert python(project, judged).stdout.splitlines() == [
        "['right', 'right']", "['wrong', 'wrong']", "['right', 'unparsable']"
    ]  # fmt: skip


def test_a_model_is_one_entry(project):
    follow(project, "Add a model")
    assert faults(project) == ""
    code = """
    import importlib, json, sys, yaml
    from pathlib import Path
    sys.path.insert(0, "workflow/scripts")
    spec = yaml.safe_load(Path("config/models.yaml").read_text())["tiny-wide"]
    importlib.import_module("base_model").main(Path("made/model"), Path("made/manifest.json"), spec, "tiny-wide")
    print(json.loads(Path("made/model/config.json").read_text())["hidden_size"])
    """
    assert python(project, code).stdout == "96\n"


def test_a_source_of_rows_is_one_module_and_its_name(project):
    recipe = {"recipe": "answers", "extends": "fine-tune", "title": "Answers", "rows": {"gold": {"from": "answers"}}}
    (project.root / "config/recipes/answers.yaml").write_text(yaml.safe_dump(recipe))
    assert "config/recipes/answers.yaml" in faults(project) and "no such row source" in faults(project)
    follow(project, "Add a source of training rows")
    follow(project, "Add a task")
    assert faults(project) == ""
    questions_of(project, "addition")
    code = """
    import importlib, json, sys, yaml
    from pathlib import Path
    sys.path.insert(0, "workflow/scripts")
    prompt = yaml.safe_load(Path("config/prompts/student-cot.yaml").read_text())
    made = Path("made")
    importlib.import_module("compose").main(
        made / "train.jsonl", made / "exemplars.jsonl", [], [], made / "rows.jsonl", made / "rows.json",
        {"gold": {"from": "answers"}}, {}, prompt, None, 1)
    """
    python(project, code)
    for line in (project.root / "made/rows.jsonl").read_text().splitlines():
        assert re.fullmatch(r"\s*--> -?\d+", json.loads(line)["target"])


def test_a_step_scorer_is_one_module_and_its_name(project):
    steps = {"predict": {"steps": {"scorer": "brevity"}}}
    recipe = {"recipe": "brief", "extends": "pad-with-verification", "title": "Brief", **steps}
    (project.root / "config/recipes/brief.yaml").write_text(yaml.safe_dump(recipe))
    assert "no such step scorer" in faults(project)
    follow(project, "Add a step scorer")
    assert faults(project) == ""
    code = """
    from distillery.programs.step_scorers import STEP_SCORERS
    print(STEP_SCORERS["brevity"]().scores(["q", "q"], ["", ""], ["  abc", "a"], [False, False]))
    """
    assert python(project, code).stdout == "[0.25, 0.5]\n"


# A loss and its recipe


@pytest.fixture
def with_loss(project):
    """A project with the loss and the recipe of CONTRIBUTING, as an arm of the tiny table."""
    follow(project, "Add a recipe")
    project.change_yaml("config/experiments/tiny.yaml", lambda file: file.update(arms=[{"recipe": "reverse-ce"}]))
    assert "no such loss; known: cross-entropy, mentor-kd, two-task" in faults(project)
    follow(project, "Add a loss")
    return project


def set_recipe(project, **changes):
    project.change_yaml("config/recipes/reverse-ce.yaml", lambda file: file.update(changes))


def test_a_loss_is_refused_before_the_first_job_where_no_trainer_can_carry_it_out(with_loss):
    assert faults(with_loss) == ""
    with_loss.change_yaml("config/setups.yaml", lambda file: file["tiny"].update(mentor="tiny-t5"))
    with_loss.change_yaml("config/experiments/tiny.yaml", lambda file: file.update(students=["tiny-t5"]))
    assert "reverse-ce is for causal students only" in faults(with_loss)
    set_recipe(with_loss, mentor=None)
    assert "objective reverse-ce needs a mentor (mentor.trained_by)" in faults(with_loss)
    module = "workflow/distillery/training/objectives/reverse_ce.py"
    with_loss.edit(module, 'frozenset({"mentor"} if', 'frozenset({"reference-model"} if')
    assert "needs reference-model, which no trainer provides" in faults(with_loss)


@pytest.mark.e2e
def test_the_graph_has_the_mentor_that_a_loss_needs_and_none_that_it_does_not_need(with_loss):
    assert with_loss.planned()["train_mentor"] == 1
    set_recipe(with_loss, objective={"loss": "reverse-ce", "weight": 0.0})
    assert "train_mentor" not in with_loss.planned()


TRAIN = """
import hashlib, importlib, json, sys
from pathlib import Path
from distillery.jobs.job import Job
from distillery.jobs.runner import run
from distillery.records import TrainingRow, write_records
sys.path.insert(0, "workflow/scripts")
base, train = importlib.import_module("base_model"), importlib.import_module("train")
made = Path("made")
for name, seed in (("student", 0), ("mentor", 1)):
    spec = {"kind": "random", "layers": 2, "hidden_size": 32, "seed": seed}
    base.main(made / name / "model", made / name / "manifest.json", spec, name)

def rows(recipe):
    path = made / recipe / "rows.jsonl"
    row = TrainingRow(qid="q", source="teacher", sample_index=0, completion_id=None, prompt="Q: x", target=" y")
    write_records(path, [row.model_copy(update={"qid": f"q{n}", "target": f" y --> {n}"}) for n in range(8)])
    return path

def job(recipe, **objective):
    inputs = {"rows": rows(recipe), "base": made / "student/manifest.json", "matched": [], "mentor": []}
    if objective["loss"] != "cross-entropy" and objective.get("weight", 1) > 0:
        inputs["mentor"] = made / "mentor/manifest.json"
    outputs = {"folder": made / recipe / "model", "manifest": made / recipe / "manifest.json",
               "summary": made / recipe / "summary.json"}
    settings = {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_length": 64}
    params = {"train": settings, "objective": objective, "form": "text", "seed": 1, "code": "1", "libraries": {}}
    return Job("train", inputs, outputs, params)

def weights(recipe):
    return hashlib.sha256((made / recipe / "model/model.safetensors").read_bytes()).hexdigest()
"""


def test_a_new_loss_trains_other_weights_and_without_weight_those_of_plain_training(with_loss):
    code = TRAIN + textwrap.dedent("""
    from distillery.errors import UserError
    run(job("plain", loss="cross-entropy"), train.main)
    run(job("free", loss="reverse-ce", weight=0.0), train.main)
    run(job("taught", loss="reverse-ce", weight=0.5), train.main)
    print(json.dumps([weights(name) for name in ("plain", "free", "taught")]))
    without = job("none", loss="reverse-ce", weight=0.5)
    try:
        run(Job("train", {**without.inputs, "mentor": []}, without.outputs, without.params), train.main)
    except UserError as error:
        print(error)
    """)
    digests, refused = python(with_loss, code).stdout.splitlines()
    plain, free, taught = json.loads(digests)
    assert plain == free != taught
    assert "needs a mentor model" in refused


def test_recipes_with_equal_rows_base_and_settings_are_one_training(project):
    """The second, under way at the same time, waits for the first and takes its result."""
    code = TRAIN + textwrap.dedent("""
    import logging, threading
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    jobs = [job(recipe, loss="cross-entropy") for recipe in ("fine-tune-cot", "degree-1")]
    assert jobs[0].key == jobs[1].key
    started = threading.Barrier(2)
    threads = [threading.Thread(target=lambda job=job: (started.wait(), run(job, train.main))) for job in jobs]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert weights("fine-tune-cot") == weights("degree-1")
    manifests = [(made / recipe / "manifest.json").read_bytes() for recipe in ("fine-tune-cot", "degree-1")]
    assert manifests[0] == manifests[1]
    assert b"fine-tune-cot" not in manifests[0] and b"degree-1" not in manifests[0]
    """)
    told = python(project, code).stdout
    assert len(re.findall(r"^train computed", told, re.MULTILINE)) == 1
    assert len(re.findall(r"^train restored", told, re.MULTILINE)) == 1


@pytest.mark.e2e
def test_recipes_that_differ_in_name_alone_have_equal_jobs_of_training(project):
    """`fine-tune-cot` reads the first rationale of each question; so does `fine-tune-cot-diverse` with `degree: 1`."""
    first = {"recipe": "fine-tune-cot-diverse", "set": {"rows.teacher.degree": 1}}
    project.change_yaml(
        "config/experiments/tiny.yaml", lambda file: file.update(arms=[{"recipe": "fine-tune-cot"}, first])
    )
    code = """
    import json
    from distillery.planning.snakemake_graph import read_graph
    jobs = [node.job for node in read_graph([], ()) if node.job.stage == "train"]
    recipes = [str(job.outputs["folder"]).split("/")[4] for job in jobs]
    print(json.dumps([recipes, [dict(job.params) for job in jobs]]))
    """
    recipes, (one, other) = json.loads(python(project, code).stdout.splitlines()[-1])
    assert len(set(recipes)) == 2
    assert one == other and "recipe" not in one


# A kind of model


def test_a_kind_of_model_is_its_settings_and_a_case(project):
    follow(project, "Add a kind of model")
    code = """
    import hashlib, importlib, shutil, sys
    from pathlib import Path
    from distillery.errors import UserError
    sys.path.insert(0, "workflow/scripts")
    main = importlib.import_module("base_model").main
    made = Path("made")
    main(made / "source", made / "source.json", {"kind": "random", "hidden_size": 32}, "source")
    archive = shutil.make_archive("made/source", "zip", made / "source")
    pinned = {"kind": "zip", "path": archive, "sha256": hashlib.sha256(Path(archive).read_bytes()).hexdigest()}
    main(made / "copy", made / "copy.json", pinned, "copy")
    weights = [(made / name / "model.safetensors").read_bytes() for name in ("source", "copy")]
    print(weights[0] == weights[1])
    try:
        main(made / "other", made / "other.json", {**pinned, "sha256": "0" * 64}, "other")
    except UserError as error:
        print(error)
    """
    same, refused = python(project, code).stdout.splitlines()
    assert same == "True"
    assert "made/source.zip" in refused and "pinned" in refused
    project.change_yaml("config/models.yaml", lambda file: file.update(zipped={"kind": "zip", "path": "x.zip"}))
    assert "sha256" in faults(project)


# A column of tables


def test_a_column_of_tables_stands_in_pages_and_files(project):
    follow(project, "Add a column of tables")
    code = """
    from pathlib import Path
    from distillery.evaluation.table_formats import write_csv, write_markdown, write_parquet
    from distillery.evaluation.table_records import Row, Table
    row = Row(
        task="t", task_title="T", recipe="r", arm_title="R", arm="R", swept={}, model="m", seeds=(1,), questions=80,
        accuracy=50.0, interval=(39.5, 60.0), others={}, unparsable=0.0, truncated=0.0, raised=None, rounds=(),
        training_rows=None, samples_used=None, updates=None, train_seconds=None, device=None,
        published=None, published_source=None, difference=None, difference_interval=None, predictions=(), examples=(),
        parts={},
    )
    table = Table("e", "E", None, "", "paper", "test", (), None, (row,), {})
    write_csv(table, Path("table.csv"))
    write_markdown(table, Path("table.md"))
    write_parquet(table, Path("table.parquet"))
    """
    python(project, code)
    (row,) = csv.DictReader((project.root / "table.csv").open())
    assert row["width"] == "20.5"
    heading, line = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (project.root / "table.md").read_text().splitlines()
        if line.startswith("| T")
    ]
    assert line[heading.index("Width")] == "20.5"
    assert pyarrow.parquet.read_table(project.root / "table.parquet").column("width").to_pylist() == [20.5]


# A stage


@pytest.mark.e2e
def test_a_stage_is_a_script_and_a_rule(project):
    follow(project, "Add a stage")
    ran = project.run("results/questions/tiny/lengths.json")
    assert ran.computed == {"lengths": 1, "questions": 1}
    assert json.loads((project.root / "results/questions/tiny/lengths.json").read_text())["all"] == 6
    project.edit("workflow/scripts/lengths.py", "count <= longest", "count < longest")
    assert project.planned("results/questions/tiny/lengths.json") == {"lengths": 1}
