"""Every job reads the files, and has the parameters, that producers.yaml says: planned, and in the records of a run."""

import json
from pathlib import Path

import pytest
import yaml

from .expected import JOBS, differences, expectation
from .projects import REPOSITORY, STUDENT, carry_out, made_once, make_flow_project

SHIPPED = sorted(path.stem for path in (REPOSITORY / "config/experiments").glob("*.yaml"))
ADDED = ["flow", "flow_wide", "flow_gated", "flow_people", "flow_untrained"]
ON_DEMAND = [
    f"results/audits/flow/flow/mapd/{STUDENT}/audit.html",
    f"results/committees/flow/flow/flow/fine-tune-cot/{STUDENT}/people/anna/sheet.csv",
    f"results/committees/flow/flow-gated/flow-gated/fine-tune-cot/{STUDENT}/people/anna/sheet.jsonl",
    "results/output_space/miniature_output_space/study.md",
    "results/output_space/flow/study.md",
]


def plan_everything(root: Path) -> None:
    project = make_flow_project(root)
    for name in ("false", "feedback", "rationale"):
        touched = root / f"data/mapd/Llama-2-7b-chat-hf_svamp_{name}_round0.json"
        touched.parent.mkdir(parents=True, exist_ok=True)
        touched.touch()
    (root / "data/svamp").mkdir()
    (root / "data/svamp/svamp.json").touch()
    tables = [f"results/tables/{name}/table.md" for name in (*SHIPPED, *ADDED)]
    carry_out(project, "plan", *tables, *ON_DEMAND)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The project, and all jobs of all experiments."""
    root = made_once(tmp_path_factory, "planned", plan_everything)
    return root, json.loads((root / "planned.json").read_text())["jobs"]


def is_table(job: dict) -> bool:
    return job["stage"] in {"tables", "output_space"}


def test_every_planned_job_reads_what_is_written_down(planned):
    root, jobs = planned
    assert [fault for job in jobs if not is_table(job) for fault in differences(job, root / "config")] == []


def test_every_expectation_is_about_a_planned_job(planned):
    used = {number for job in planned[1] if (found := expectation(job["outputs"])) for number in found[2]}
    assert [job["of"] for number, (_, job) in enumerate(JOBS) if number not in used] == []


@pytest.mark.e2e
def test_every_record_of_a_run_names_what_is_written_down(flow):
    records = [json.loads(path.read_text()) for path in sorted((flow.root / "results").rglob("*provenance.json"))]
    assert len(records) >= 90
    faults = []
    for record in records:
        if not is_table(record):
            inputs = {name: files if record["many"][name] else files[0] for name, files in record["inputs"].items()}
            faults += differences({**record, "inputs": inputs}, flow.root / "config")
    assert faults == []


# Recipes that are trained by another recipe's name, or not at all: where a table finds rows and seconds.
UNTRAINED = {"zero-shot", "zero-shot-cot", "few-shot-cot", "flow-zero"}


def cells(experiment: str) -> list[dict]:
    """Each cell of a table, read from the experiment's file: recipe with its settings, model and seed."""
    content = yaml.safe_load(Path(experiment).read_text())
    found = []
    for arm in content["arms"]:
        assert len(arm.get("sweep", {})) <= 1
        (path, values) = next(iter(arm.get("sweep", {}).items()), (None, [None]))
        for value in values:
            settings = {**arm.get("set", {}), **({path: value} if path else {})}
            parts = [arm["recipe"]]
            for key in sorted(settings):
                keys = key.split(".")
                label = "-".join(keys[1:]) if keys[0] == "rows" else keys[-1]
                parts.append(f"{label}={str(settings[key]).lower()}")
            seeds = content.get("seeds", [1])
            for model in arm.get("models", content["students"]):
                for seed in seeds[:1] if arm["recipe"] in UNTRAINED else seeds:
                    found.append(
                        {
                            "recipe": ".".join(parts),
                            "model": model,
                            "seed": seed,
                            "setup": content["setup"],
                            "task": content["tasks"][0],
                            "settings": settings,
                        }
                    )
    return found


@pytest.mark.parametrize("experiment", [*SHIPPED, *ADDED])
def test_a_table_has_the_scores_and_costs_of_its_own_arms(planned, experiment):
    root, jobs = planned
    (table,) = [job for job in jobs if f"results/tables/{experiment}/table.md" in job["outputs"].values()]
    expected = cells(root / f"config/experiments/{experiment}.yaml")
    where = ["{task}/test/{setup}/{recipe}/{model}/seed{seed}".format(**cell) for cell in expected]
    assert table["inputs"]["scores"] == [f"results/scores/{cell}/scores.json" for cell in where]
    assert table["inputs"]["graded"] == [f"results/scores/{cell}/graded.jsonl" for cell in where]
    costs = []
    for cell, given in zip(expected, table["params"]["cells"], strict=True):
        named = ("recipe", "model", "seed", "task")
        assert {name: given[name] for name in named} == {name: cell[name] for name in named}
        base = cell["recipe"].split(".")[0]
        own = {**cell, "recipe": "pad-without-refinement"} if base == "pad-with-verification" else cell
        wanted = (
            []
            if base in UNTRAINED
            else [
                f"results/{stage}/" + "{task}/{setup}/{recipe}/{model}/seed{seed}/summary.json".format(**own)
                for stage in ("rows", "models")
            ]
        )
        assert given["costs"] == wanted
        costs += wanted
    assert table["inputs"]["costs"] == sorted(set(costs))


# Setting of an arm -> the file that its recipe makes with it, and the parameter there.
REACHES = {
    "objective.alpha": ("models/{where}/manifest.json", "objective.alpha"),
    "train.held_out": ("models/{where}/manifest.json", "train.held_out"),
    "pairs.accept.threshold": ("rows/{where}/rows.jsonl", "pairs.accept.threshold"),
    "pairs.teacher": ("rows/{where}/rows.jsonl", "pairs.teacher"),
    "pairs.round": None,  # says which files, which producers.yaml holds
    "rows.program.degree": ("rows/{where}/rows.jsonl", "sources.program.degree"),
    "rows.program.share": ("rows/{where}/rows.jsonl", "sources.program.share"),
    "rows.teacher.share": ("rows/{where}/rows.jsonl", "sources.teacher.share"),
    "predict.refine.rounds": ("refined/{task}/test/{rest}/predictions.jsonl", "spec.rounds"),
    "predict.steps.scorer": ("predictions/{task}/test/{rest}/predictions.jsonl", "spec.steps.scorer"),
}


def test_every_setting_of_an_arm_reaches_its_job(planned):
    root, jobs = planned
    made_by = {path: job for job in jobs for path in job["outputs"].values()}
    for experiment in (*SHIPPED, *ADDED):
        for cell in cells(root / f"config/experiments/{experiment}.yaml"):
            for setting, value in cell["settings"].items():
                if REACHES[setting] is None:
                    continue
                file, parameter = REACHES[setting]
                rest = "{setup}/{recipe}/{model}/seed{seed}".format(**cell)
                path = file.format(where=f"{cell['task']}/{rest}", task=cell["task"], rest=rest)
                given = made_by[f"results/{path}"]["params"]
                for part in parameter.split("."):
                    given = given[part]
                assert given == value, f"{path}: {parameter}"


@pytest.mark.parametrize("experiment", ["miniature_output_space", "flow"])
def test_a_study_of_the_output_space_reads_the_drafts_of_the_recipes_that_refine(planned, experiment):
    root, jobs = planned
    (study,) = [job for job in jobs if f"results/output_space/{experiment}/study.md" in job["outputs"].values()]
    (refining,) = [cell for cell in cells(root / f"config/experiments/{experiment}.yaml") if cell["recipe"] == "pad"]
    assert study["inputs"]["rounds"] == [
        "results/refined/{task}/test/{setup}/pad/{model}/seed{seed}/rounds.jsonl".format(**refining)
    ]
