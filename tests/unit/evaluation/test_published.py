"""A published number belongs to one task, one recipe and one model, and is shown beside no other cell."""

import shutil
from pathlib import Path

import yaml

from distillery.registry import load_workspace

CONFIG = Path(__file__).parents[3] / "config"


def test_a_published_number_is_shown_beside_its_own_task_recipe_and_model_only(tmp_path):
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    path = config / "experiments" / "miniature.yaml"
    experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
    tasks = ["arithmetic", next(name for name in tasks_of(config) if name != "arithmetic")]
    students = ["smollm2-135m-26-layers", "smollm2-135m"]
    recipes = ["fine-tune", "fine-tune-cot"]
    numbers = {
        (task, recipe, student): 10.0 + place
        for place, (task, recipe, student) in enumerate(
            (task, recipe, student) for task in tasks for recipe in recipes for student in students
        )
    }
    numbers.pop((tasks[0], recipes[0], students[1]))  # a cell for which the paper prints nothing
    experiment |= {
        "tasks": tasks,
        "students": students,
        "arms": [{"recipe": recipe} for recipe in recipes],
        "baseline": None,
        "published": [
            {"task": task, "recipe": recipe, "model": student, "accuracy": number, "source": "Table 1"}
            for (task, recipe, student), number in reversed(numbers.items())
        ],
    }
    path.write_text(yaml.safe_dump(experiment), encoding="utf-8")
    cells = list(load_workspace({"experiments": ["miniature"]}, config).cells("miniature"))
    shown = {(cell.task, cell.recipe, cell.model): cell.published for cell in cells}
    assert len(shown) == 8
    assert {key: published.accuracy for key, published in shown.items() if published} == numbers


def tasks_of(config: Path) -> list[str]:
    return sorted(path.stem for path in (config / "tasks").glob("*.yaml"))
