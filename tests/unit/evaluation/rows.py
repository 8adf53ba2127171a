"""Rows and tables with the fields that a test names; the others are those of a plain run of texts."""

from distillery.evaluation.table_records import Row, Table


def row(arm: str, model: str, accuracy: float, low: float, high: float, task: str = "Sums", **changes) -> Row:
    values = {
        "task": task.lower(), "task_title": task, "recipe": arm.lower(), "arm": arm, "arm_title": arm, "model": model,
        "questions": 10, "seeds": (1,), "accuracy": accuracy, "interval": (low, high), "others": {},
        "unparsable": 0.0, "truncated": 0.0, "rounds": (), "swept": {}, "predictions": (), "examples": (), "parts": {},
        **changes,
    }  # fmt: skip
    known = Row.__dataclass_fields__
    return Row(**{name: values.get(name) for name in known})


def table(*rows: Row, **changes) -> Table:
    values = {
        "experiment": "mini", "title": "Mini", "caption": "", "grader": "robust", "other_graders": (), "rows": rows,
        "labels": {}, "notes": (), "split": "test", **changes,
    }  # fmt: skip
    return Table(**{name: values.get(name) for name in Table.__dataclass_fields__})
