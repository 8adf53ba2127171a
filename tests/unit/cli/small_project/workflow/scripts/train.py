"""A training that learns nothing: the manifest of its model, and counts of its work."""

from distillery.jobs.runner import run_script


def main(rows, base, manifest, train, objective, form):
    from distillery.files import write_json
    from distillery.models.manifest import read_manifest
    from distillery.records import TrainingRow, read_records

    steps = train["epochs"] * len(list(read_records(rows, TrainingRow)))
    made = read_manifest(base).model_copy(update={"identity": f"trained for {steps} steps"})
    write_json(manifest, made.model_dump(mode="json"))
    return {"tokens": 10 * steps, "steps": steps, "seconds": 0.5, "parameters": made.parameters}


run_script("train", main, globals())
