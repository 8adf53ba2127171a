"""Check that a mentor's soft labels mean the same tokens to a student, before either is trained."""

from pathlib import Path

from distillery.jobs.runner import run_script


def main(mentor: Path, student: Path, same: Path) -> None:
    """Write the vocabulary that both share."""
    from distillery.files import write_json
    from distillery.models.manifest import read_manifest, same_vocabulary

    teacher, learner = read_manifest(mentor), read_manifest(student)
    same_vocabulary(teacher, learner)
    write_json(same, learner.vocabulary.model_dump(mode="json"))


run_script("check_vocabulary", main, globals())
