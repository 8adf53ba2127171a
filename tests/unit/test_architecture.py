"""docs/architecture.md names what there is: every room and rule, and none that is not there."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/architecture.md").read_text()


def stages_of_rules() -> dict[str, tuple[str | None, str]]:
    """Rule -> (stage, that is the name of its script, or None; room, that is the name of its file)."""
    found: dict[str, tuple[str | None, str]] = {}
    for file in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):
        blocks = re.split(r"^(?= *(?:use )?rule\b)", file.read_text(), flags=re.MULTILINE)[1:]
        for block in blocks:
            name = re.match(r" *(?:use rule (\w+) as (\w+) with|rule(?: (\w+))?):", block)
            assert name, block
            script = re.search(r'"\.\./scripts/(\w+)\.py"', block)
            if name[2]:
                found[name[2]] = (found[name[1]][0], file.stem)
            else:
                found[name[3] or "table_<experiment>"] = (script[1] if script else None, file.stem)
    return found


def section(title: str) -> str:
    return re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:][[*titles()].index(title)]


def titles() -> list[str]:
    return re.findall(r"^## (.+)$", PAGE, flags=re.MULTILINE)


def test_the_page_names_every_room_in_the_order_of_the_import_contract():
    named = re.findall(r"^\| `(\w+)` \|", section("The rooms"), flags=re.MULTILINE)
    rooms = {path.parent.name for path in (REPOSITORY / "workflow/distillery").glob("*/__init__.py")}
    assert sorted(named) == sorted(rooms)
    contract = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    diagram = re.search(r"```\n(.*?)```", section("The rooms"), flags=re.DOTALL)[1]
    layers = [", ".join(layer.split(" | ")) for layer in contract["layers"]]
    assert [layer.strip() for layer in diagram.split("─►")] == layers


def test_the_page_has_a_heading_for_every_stage_with_its_room_and_rules():
    rules = stages_of_rules()
    stages: dict[str, tuple[str, set[str]]] = {}
    for rule, (stage, room) in rules.items():
        if stage is not None:
            stages.setdefault(stage, (room, set()))[1].add(rule)
    assert set(stages) == {path.stem for path in (REPOSITORY / "workflow/scripts").glob("*.py")}
    described = {}
    for heading, room, _, names in re.findall(
        r"### (\w+)\nRoom `(\w+)`\.(.*?)Rules: ([^.]+)\.", section("The stages"), flags=re.DOTALL
    ):
        described[heading] = (room, set(re.findall(r"`(\w+)`", names)))
    assert described == stages


def test_targets_without_a_script_are_named():
    intro = section("The stages").split("###")[0]
    targets = {rule for rule, (stage, _) in stages_of_rules().items() if stage is None} | {"all"}
    assert set(re.findall(r"`([a-z_]+(?:<experiment>)?)`", intro)) == targets


def test_the_name_of_a_rule_starts_with_the_name_of_its_stage():
    assert [rule for rule, (stage, _) in stages_of_rules().items() if stage and not rule.startswith(stage)] == []


def test_the_path_of_a_question_goes_over_rules_and_records_that_exist():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (?:`(\w+)`)? ?\|", section("The path of a question"), re.MULTILINE)
    assert len(rows) > 10 and {rule for rule, _, _ in rows} <= set(stages_of_rules())
    records = (REPOSITORY / "workflow/distillery/records.py").read_text()
    assert [record for _, _, record in rows if record and f"class {record}(" not in records] == []


def test_the_page_is_short_and_its_links_lead_somewhere():
    assert len(PAGE.splitlines()) < 200
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links and [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []


def test_the_page_lists_the_wildcards_that_the_snakefile_constrains():
    listed = re.search(r"\*\*Wildcards:\*\*(.*?)\n- ", section("Paths and wiring"), flags=re.DOTALL)[1]
    snakefile = (REPOSITORY / "Snakefile").read_text()
    constrained = re.search(r"^wildcard_constraints:\n((?:    .*\n)+)", snakefile, flags=re.MULTILINE)[1]
    assert set(re.findall(r"`(\w+)`", listed)) == set(re.findall(r"^    (\w+)=", constrained, flags=re.MULTILINE))
