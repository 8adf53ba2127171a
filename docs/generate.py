"""Write the tables of README.md and docs/testing.md from the measured files in docs/measured; `--check` only compares.

    make documents                 writes them
    tests/unit/test_documents.py   fails while a document and its measured file differ

A measured file is the CSV that a run wrote: `results/tables/<experiment>/table.csv`, and `mutants.csv` of
tests/mutants/tool.py. A JSON file beside it says on which machine, when, and by which command.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from distillery.evaluation.short_table import WORDS, read_table, short_table

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ROOT / "docs" / "measured"
DOCUMENTS = ("README.md", "docs/testing.md")
QUOTED = re.compile(r"\{([\w-]+): ([^}]+)\}")
"""In a note: recipe and column of a number."""
MARKED = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)


def table(name: str) -> str:
    """A measured table as Markdown, with the sentence that says where it comes from."""
    rows = read_table(MEASURED / f"{name}.csv")
    facts = json.loads((MEASURED / f"{name}.json").read_text(encoding="utf-8"))
    text = mutants(rows) if name == "mutants" else results(rows)
    cells = {row["recipe"]: row for row in rows if "recipe" in row}
    notes = [f"- {QUOTED.sub(lambda named: cells[named[1]][named[2]], note)}" for note in facts["notes"]]
    source = f"`{facts['command']}`, {facts['date']}, {facts['machine']}: {facts['duration']}."
    return "\n".join([*text, "", source, "", *notes]) + "\n"


def results(rows: list[dict[str, str]]) -> list[str]:
    """The lines of a table of results: what `make demo` prints at its end."""
    headings, *fields = short_table(rows)
    marks = ["---" if heading in WORDS else "---:" for heading in headings]
    return [f"| {' | '.join(headings)} |", f"|{'|'.join(marks)}|", *(f"| {' | '.join(row)} |" for row in fields)]


def mutants(rows: list[dict[str, str]]) -> list[str]:
    """The lines of the table of mutation testing, with the sum of all rooms."""
    columns = ("mutants", "tried", "noticed", "equivalent", "survived")
    total = {"room": "all", **{name: str(sum(int(row[name]) for row in rows)) for name in columns}}
    text = [f"| room | {' | '.join(columns)} | noticed of those tried |", "|---|---:|---:|---:|---:|---:|---:|"]
    for row in [*rows, total]:
        share = int(row["noticed"]) / (int(row["tried"]) - int(row["equivalent"]))
        text.append(f"| {row['room']} | {' | '.join(row[name] for name in columns)} | {share:.1%} |".replace("%", " %"))
    return text


def rendered(document: Path) -> str:
    """The document with each measured table brought up to date."""
    text = document.read_text(encoding="utf-8")
    return MARKED.sub(lambda part: f"{part[1]}{table(part[2])}{part[3]}", text)


def main() -> None:
    """Write the documents, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail when a document is out of date")
    check = parser.parse_args().check
    stale = [name for name in DOCUMENTS if rendered(ROOT / name) != (ROOT / name).read_text(encoding="utf-8")]
    if check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run `make documents`")
    for name in stale:
        (ROOT / name).write_text(rendered(ROOT / name), encoding="utf-8")


if __name__ == "__main__":
    main()
