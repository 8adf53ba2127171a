"""Fields that rules read: each changes the inputs and parameters of the jobs that it should, in the planned graph.

One workspace has a recipe for each field, beside a plain one; the graph is planned once, and nothing runs.
"""

import json
import subprocess
import sys

import pytest
import yaml

from distillery.config.recipe import Predict, Refine, Steps
from distillery.config.review import Pairs, StudentAnswers

ASKED = {"prompt": "student-cot", "max_new_tokens": 40, "answer_tokens": 6}
PLAIN = {"extends": "fine-tune-cot", "title": "t", "predict": ASKED}
REPAIRED = {"extends": "pad", "title": "t", "predict": {"refine": {"prompt": "repair-program", "rounds": 1}}}
STEPS = {"beams": 2, "samples": 2, "scorer": "none", "lambda": 0.5, "max_lines": 3, "length_penalty": 0.5}
BY_LINES = {"prompt": "student-program", "max_new_tokens": 9, "steps": STEPS}
SEARCHED = {"title": "t", "weights_of": "pad-without-refinement", "predict": BY_LINES}
PAIRED = {"extends": "mapd", "title": "t"}
OTHER_STEPS = {"beams": 3, "samples": 4, "scorer": "execution", "lambda": 0.25, "max_lines": 5, "length_penalty": 0.75}
RECIPES = {
    "plain": PLAIN,
    "plain-prompt": {**PLAIN, "predict": {**ASKED, "prompt": "student-rationale"}},
    "plain-max": {**PLAIN, "predict": {**ASKED, "max_new_tokens": 50}},
    "plain-answer": {**PLAIN, "predict": {**ASKED, "answer_tokens": 7}},
    "repaired": REPAIRED,
    "repaired-rounds": {**REPAIRED, "predict": {"refine": {"prompt": "repair-program", "rounds": 2}}},
    "repaired-prompt": {**REPAIRED, "predict": {"refine": {"prompt": "my-repair", "rounds": 1}}},
    "searched": SEARCHED,
    **{
        f"searched-{name.replace('_', '-')}": {**SEARCHED, "predict": {**BY_LINES, "steps": {**STEPS, name: value}}}
        for name, value in OTHER_STEPS.items()
    },
    "paired": PAIRED,
    "paired-after": {**PAIRED, "pairs": {"after": "paired"}},
    "paired-round": {**PAIRED, "pairs": {"round": 2}},
    "paired-restarts": {**PAIRED, "pairs": {"after": "paired", "continues": False}},
    "paired-single": {**PAIRED, "pairs": {"mode": "single"}},
    "paired-teacher": {**PAIRED, "pairs": {"mode": "single", "teacher": "two"}},
    "paired-drop": {**PAIRED, "pairs": {"accept": {"peers": False}, "size_of": "paired"}},
    "paired-remark": {**PAIRED, "pairs": {"feedback_prompt": "my-feedback"}},
}
COMMITTEES = {"tiny": {}, "other-sampler": {"sampler": "my-answers"}, "other-student": {"student": "tiny-other"}}
GRAPH = (
    "import json, sys; from distillery.planning.snakemake_graph import read_graph; "
    "nodes = read_graph(sys.argv[1:]); "
    "print(json.dumps([[str(n.main_output), n.job.params, {k: str(v) for k, v in n.job.inputs.items()}] "
    "for n in nodes], default=str))"
)


@pytest.fixture(scope="module")
def jobs(make_project, tmp_path_factory):
    """Find the job that makes a recipe's files in a folder of results: its parameters and inputs."""
    project = make_project(tmp_path_factory.mktemp("graph") / "project")
    config = project.root / "config"

    def write(folder: str, name: str, content: dict) -> None:
        (config / folder / f"{name}.yaml").write_text(yaml.safe_dump(content))

    for name, recipe in RECIPES.items():
        write("recipes", name, {**recipe, "recipe": name, "title": name})
    for kind, base in (("my-repair", "repair-program"), ("my-feedback", "student-feedback")):
        prompt = yaml.safe_load((config / "prompts" / f"{base}.yaml").read_text())
        write("prompts", kind, {**prompt, "prompt": kind, "input": "mine " + prompt["input"]})
    sampler = yaml.safe_load((config / "samplers" / "tiny-student-answers.yaml").read_text())
    write("samplers", "my-answers", {**sampler, "sampler": "my-answers"})
    committee = yaml.safe_load((config / "committees" / "tiny.yaml").read_text())
    setups = yaml.safe_load((config / "setups.yaml").read_text())
    targets = []
    for name, change in COMMITTEES.items():
        answers = {**committee["student_answers"], **change}
        write("committees", name, {**committee, "committee": name, "student_answers": answers})
        setups[f"setup-{name}"] = {**setups["tiny"], "committee": name, "recipes": {}}
        arms = [{"recipe": recipe} for recipe in (RECIPES if name == "tiny" else ("paired",))]
        experiment = {"experiment": name, "title": "t", "setup": f"setup-{name}", "tasks": ["tiny"], "arms": arms}
        write("experiments", name, {**experiment, "students": ["tiny-random-half"]})
        targets.append(f"results/tables/{name}/table.md")
    (config / "setups.yaml").write_text(yaml.safe_dump(setups))
    done = subprocess.run(
        [sys.executable, "-c", GRAPH, *targets], cwd=project.root, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(project.root / "workflow"), "PATH": "/usr/bin:/bin", "HOME": str(project.root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    nodes = json.loads(done.stdout.splitlines()[-1])

    def find(folder: str, recipe: str, setup: str = "tiny") -> tuple[dict, dict]:
        place = f"/setup-{setup}/{recipe}/tiny-random-half/"
        here = f"results/{folder}/"
        found = [(params, inputs) for output, params, inputs in nodes if output.startswith(here) and place in output]
        assert found, f"no job makes {folder} of {recipe}"
        return found[0]

    return find


def differs(jobs, folder: str, first: str, second: str) -> dict:
    """Parameters of two recipes' jobs where they are not the same: name -> the two values."""
    one, two = (flat(jobs(folder, recipe)[0]) for recipe in (first, second))
    if (one.get("sampler"), two.get("sampler")) == (first, second):  # who answers, by name
        del one["sampler"], two["sampler"]
    return {name: (one.get(name), two.get(name)) for name in one | two if one.get(name) != two.get(name)}


def flat(value: dict, prefix: str = "") -> dict:
    found = {}
    for name, part in value.items():
        found |= flat(part, f"{prefix}{name}.") if isinstance(part, dict) else {f"{prefix}{name}": part}
    return found


def predict_prompt(jobs) -> None:
    prompts = ("student-cot", "student-rationale")
    assert differs(jobs, "predictions", "plain", "plain-prompt")["spec.prompt.prompt"] == prompts
    assert differs(jobs, "rows", "plain", "plain-prompt")["prompt.prompt"] == prompts, "it is taught as it is asked"


def predict_max_new_tokens(jobs) -> None:
    assert differs(jobs, "predictions", "plain", "plain-max") == {"spec.decoding.max_new_tokens": (40, 50)}
    assert differs(jobs, "rows", "plain", "plain-max") == {}


def predict_answer_tokens(jobs) -> None:
    assert differs(jobs, "predictions", "plain", "plain-answer") == {"spec.decoding.answer_tokens": (6, 7)}


def predict_decoding(jobs) -> None:
    params, _ = jobs("predictions", "plain")
    assert (params["spec"]["decoding"]["temperature"], params["spec"]["samples"]) == (0.0, 1)


def refine_rounds(jobs) -> None:
    assert differs(jobs, "refined", "repaired", "repaired-rounds") == {"spec.rounds": (1, 2)}
    scored = [jobs("scores", recipe)[1]["predictions"] for recipe in ("repaired", "plain")]
    assert ["/refined/" in path for path in scored] == [True, False]


def refine_prompt(jobs) -> None:
    prompts = ("repair-program", "my-repair")
    assert differs(jobs, "refined", "repaired", "repaired-prompt")["spec.prompt.prompt"] == prompts
    assert differs(jobs, "rows", "repaired", "repaired-prompt")["repair.prompt"] == prompts


def steps_field(name: str):
    def check(jobs) -> None:
        changed = differs(jobs, "predictions", "searched", f"searched-{name.replace('_', '-')}")
        assert changed == {f"spec.steps.{name}": (STEPS[name], OTHER_STEPS[name])}

    return check


def predict_steps(jobs) -> None:
    """Searched line by line, with the students of another recipe."""
    assert "/pad-without-refinement/" in jobs("predictions", "searched")[1]["manifest"]


def mistakes_of(jobs, recipe: str, setup: str = "tiny") -> str:
    return jobs("rows", recipe, setup)[1]["mistakes"]


def answers_sampler(jobs) -> None:
    assert "/other-sampler/" in mistakes_of(jobs, "paired", "other-sampler")


def answers_student(jobs) -> None:
    assert "/tiny-other/" in mistakes_of(jobs, "paired", "other-student")
    assert "/tiny-random-half/" in mistakes_of(jobs, "paired")


def pairs_after(jobs) -> None:
    assert "/setup-tiny/paired/tiny-random-half/seed" in mistakes_of(jobs, "paired-after")


def pairs_round(jobs) -> None:
    """The student of the first round answers for the second, and is trained on."""
    first = "/setup-tiny/paired-round.round=1/tiny-random-half/"
    assert first in mistakes_of(jobs, "paired-round") and first in jobs("models", "paired-round")[1]["base"]
    assert "/tiny/tiny-random-half/" in mistakes_of(jobs, "paired-round.round=1")


def pairs_continues(jobs) -> None:
    recipes = ("paired", "paired-after", "paired-restarts")
    first, after, restarted = (jobs("models", recipe)[1]["base"] for recipe in recipes)
    assert "/setup-tiny/paired/tiny-random-half/" in after
    assert first == restarted == "results/base_models/tiny-random-half/manifest.json"


def pairs_teacher(jobs) -> None:
    changed = differs(jobs, "rows", "paired-single", "paired-teacher")
    assert changed == {"pairs.teacher": ("one", "two")}, "the first of the committee, or the named one"


def pairs_size_of(jobs) -> None:
    params, _ = jobs("rows", "paired-drop")
    assert params["like"]["peers"] is True and params["pairs"]["accept"]["peers"] is False
    assert jobs("rows", "paired")[0]["like"] is None


def pairs_feedback_prompt(jobs) -> None:
    changed = differs(jobs, "rows", "paired", "paired-remark")
    assert changed["feedback_prompt.prompt"] == ("student-feedback", "my-feedback")


CASES = {
    Predict: {
        "prompt": predict_prompt, "refine": refine_rounds, "steps": predict_steps, "decoding": predict_decoding,
        "max_new_tokens": predict_max_new_tokens, "answer_tokens": predict_answer_tokens,
    },
    Refine: {"prompt": refine_prompt, "rounds": refine_rounds},
    Steps: {name: steps_field("lambda" if name == "weight" else name) for name in Steps.model_fields},
    StudentAnswers: {"sampler": answers_sampler, "student": answers_student},
    Pairs: {
        "round": pairs_round, "after": pairs_after, "continues": pairs_continues, "teacher": pairs_teacher,
        "size_of": pairs_size_of, "feedback_prompt": pairs_feedback_prompt,
    },
}  # fmt: skip


@pytest.mark.parametrize("record", [Predict, Refine, Steps])
def test_every_field_has_a_case(record):
    assert set(CASES[record]) == set(record.model_fields)


@pytest.mark.e2e
@pytest.mark.parametrize(("record", "field"), [(record, field) for record, fields in CASES.items() for field in fields])
def test_a_field_changes_the_jobs_that_it_should(jobs, record, field):
    CASES[record][field](jobs)
