"""Check that a student can write programs, before anything is sampled: its tokenizer keeps their white space."""

from pathlib import Path

from distillery.jobs.runner import run_script


def main(student: Path, kept: Path) -> None:
    """Write the program that came back from its token ids as it was."""
    from transformers import AutoTokenizer

    from distillery.files import write_json
    from distillery.models.manifest import read_manifest
    from distillery.models.tokenization import PROBE, check_program

    model = read_manifest(student)
    tokenizer = AutoTokenizer.from_pretrained(student.parent / "model", trust_remote_code=False)
    check_program(tokenizer, PROBE, file=f"model {model.name}", key="a program")
    write_json(kept, {"program": PROBE})


run_script("check_tokenizer", main, globals())
