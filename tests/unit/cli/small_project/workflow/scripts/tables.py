"""A table of one number."""

from distillery.jobs.runner import run_script


def main(scores, markdown):
    from distillery.files import read_json

    markdown.write_text(f"{read_json(scores)['asked']}\n")


run_script("tables", main, globals())
