"""The code digests of the real stages: what each reaches, and that edits of the library change those that they must."""

import ast
import functools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distillery.jobs import analyses
from distillery.jobs.code_digest import LIBRARIES, NEUTRAL, Library, code_digest, definition_digests
from distillery.jobs.definitions import analyse

WORKFLOW = Path(__file__).parents[3] / "workflow"
STAGES = sorted(path.stem for path in (WORKFLOW / "scripts").glob("*.py"))
REAL = Library.read(WORKFLOW / "distillery", WORKFLOW / "scripts")


def reached(stage: str) -> set[str]:
    return set(REAL.stage(stage).definitions)


def modules(stage: str) -> set[str]:
    """Modules below the library that a stage reaches definitions of."""
    return {module for module in REAL.modules if any(name.startswith(f"{module}.") for name in reached(stage))}


def rooms(stage: str) -> set[str]:
    return {module.split(".")[1] for module in modules(stage) if "." in module}


def test_stages_reach_only_rooms_that_decide_their_output():
    computing = {"sampling", "verification", "training", "evaluation"}
    assert rooms("questions").isdisjoint(computing)
    assert rooms("sample") & computing == {"sampling"}
    assert rooms("verify") & computing == {"verification"}
    assert rooms("train") & computing == {"training"} and "tasks" not in rooms("train")
    assert rooms("compose") & computing == {"training"}
    assert rooms("score") & computing == {"evaluation", "verification"}
    assert "distillery.evaluation.tables" not in modules("score")
    assert rooms("tables") & computing == {"evaluation"}
    assert "distillery.visible" in modules("tables") - modules("train"), "it shapes pages, and else messages only"
    for stage in ("ask_teachers", "peer_review"):
        assert rooms(stage) & computing == {"sampling"}
        assert "distillery.peer_review.acceptance" not in modules(stage)
    assert rooms("compose_pairs").isdisjoint(computing - {"evaluation"})
    assert {"distillery.peer_review.ask", "distillery.peer_review.audit"}.isdisjoint(modules("compose_pairs"))


def test_stages_reach_what_decides_their_output():
    """By reading the scripts; through imports inside functions, registries and modules as values."""
    assert {
        "train.main",
        "distillery.training.objectives.mentor_kd.mentor_kd_loss",
        "distillery.config.recipe.Train",
    } <= reached("train")
    assert {
        "distillery.verification.graders.number.standalone_numbers",
        "distillery.verification.judge.judge",
    } <= reached("verify")
    assert "distillery.sampling.backends.vllm.VllmBackend" in reached("sample")
    assert "distillery.tasks.generators.arithmetic.generate" in reached("questions")
    assert "distillery.programs.worker (as a program)" in reached("verify")


def unused_function(text: str) -> str:
    return text + "\n\ndef unused(logits):\n    return logits * IGNORE\n"


EDITS: dict[str, tuple[str, Callable[[str], str], set[str]]] = {
    "a comment": ("verification/graders/number.py", lambda text: text + "\n# a remark\n", set()),
    "a docstring": ("verification/graders/number.py", lambda text: text.replace('"""', '"""So it is. ', 1), set()),
    "an unused function": ("training/losses.py", unused_function, set()),
    "a neutral module": ("errors.py", lambda text: text.replace("def __str__", "def text"), set()),
    "a constant of the losses": (
        "training/losses.py",
        lambda text: text.replace("IGNORE = -100", "IGNORE = -101"),
        {"soft_labels", "train"},
    ),
    "the loss of soft labels": (
        "training/losses.py",
        lambda text: text.replace("def outcomes(self,", "def outcomes(self, /,").replace("def _kl(p", "def _kl(r"),
        {"train"},
    ),
    "a helper of the graders": (
        "verification/graders/number.py",
        lambda text: text.replace("def standalone_numbers(", "def standalone_numbers(self, "),
        {"check_task", "verify", "verify_rationales", "score"},
    ),
    "the figures": (
        "evaluation/figures.py",
        lambda text: text.replace("PNG_SCALE = ", "PNG_SCALE = 1 + "),
        {"output_space", "tables"},
    ),
    "the engine": (
        "sampling/backends/vllm.py",
        lambda text: text.replace("class VllmBackend(Backend):", "class VllmBackend(Backend):\n    n = 1\n"),
        {"refine", "sample", "search", "ask_teachers", "peer_review"},
    ),
    "a property of the settings": (
        "config/review.py",
        lambda text: text.replace('return self.mode == "mixed" and', 'return self.mode == "single" and'),
        {"compose_pairs"},
    ),
    "the form of JSON": (
        "files.py",
        lambda text: text.replace("indent=2", "indent=1"),
        {stage for stage in STAGES if "distillery.files.write_json" in reached(stage)},
    ),
}


@pytest.mark.parametrize(("file", "change", "stale"), EDITS.values(), ids=EDITS)
def test_an_edit_makes_stale_exactly_the_stages_that_reach_the_code(file, change, stale):
    text = (WORKFLOW / "distillery" / file).read_text()
    assert change(text) != text
    edited = with_source(file, change(text))
    assert {stage for stage in STAGES if edited.stage(stage).digest != REAL.stage(stage).digest} == stale


def with_source(file: str, text: str) -> Library:
    """The real library with another text of one file."""
    module = ".".join(["distillery", *Path(file).with_suffix("").parts]).removesuffix(".__init__")
    package = file.endswith("__init__.py")
    changed = {**REAL.modules, module: analyse(text.encode(), module, package=package)}
    return Library(changed, REAL.packages, REAL.root)


# Mutations: what is changed is found by walking the syntax here, not by the code under test.


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """Definitions of a module that are bound once, by name."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.setdefault(name, []).append(statement)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
                found.setdefault(name, []).append(statement)
    return {name: statements[0] for name, statements in found.items() if len(statements) == 1}


def mutations(node: ast.AST) -> Iterator[Callable[[], None]]:
    """Ways to change what a definition does: values, operators, defaults, decorators, bases."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        if isinstance(node, ast.keyword) and node.arg == "description":
            continue
        children = value if isinstance(value, list) else [value]
        for child in children:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            if isinstance(child, ast.Call) and ast.unparse(child.func) == "logging.getLogger":
                continue
            if isinstance(child, ast.AST):
                yield from mutations(child)
        if name == "body" and isinstance(node, ast.ClassDef):
            continue  # what a class body raises is raised on import, which every stage that imports the module sees
        if name in REPLACED and isinstance(value, list) and value:
            yield lambda name=name: setattr(node, name, REPLACED[name])
    match node:
        case ast.Constant(value=bool(value)):
            yield lambda: setattr(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield lambda: setattr(node, "value", value + 1)
        case ast.Constant(value=str(value)):
            yield lambda: setattr(node, "value", value + "~")
        case ast.BinOp(op=op):
            yield lambda: setattr(node, "op", ast.Mod() if isinstance(op, ast.Add) else ast.Add())
        case ast.Compare():
            yield lambda: setattr(node, "ops", [ast.IsNot() if isinstance(op, ast.Is) else ast.Is() for op in node.ops])
        case ast.BoolOp(op=op):
            yield lambda: setattr(node, "op", ast.Or() if isinstance(op, ast.And) else ast.And())


REPLACED: dict[str, list] = {"decorator_list": [], "bases": [], "defaults": [], "body": [ast.Raise()]}


def mutants(stage: str, *, wanted: bool, count: int) -> Iterator[tuple[str, Library]]:
    """The library with one definition changed, which the stage reaches or not, for up to `count` definitions."""
    places = [(module, name) for module in REAL.modules if module.startswith("distillery") for name in named(module)]
    chosen = [(module, name) for module, name in places if (f"{module}.{name}" in reached(stage)) == wanted]
    random.Random(stage).shuffle(chosen)
    for module, name in chosen[:count]:
        if module.startswith(tuple(NEUTRAL)):
            continue
        file = file_of(module)
        tree = ast.parse((WORKFLOW / "distillery" / file).read_text())
        ways = list(mutations(definitions(tree)[name]))
        if ways:
            random.Random(f"{module}.{name}").choice(ways)()
            yield f"{module}.{name}", with_source(file, ast.unparse(ast.fix_missing_locations(tree)))


def file_of(module: str) -> str:
    path = "/".join(module.split(".")[1:])
    return f"{path}/__init__.py".lstrip("/") if module in REAL.packages else f"{path}.py"


@functools.cache
def named(module: str) -> list[str]:
    return list(definitions(ast.parse((WORKFLOW / "distillery" / file_of(module)).read_text())))


@pytest.mark.parametrize(("stage", "count"), {"train": 1000, "questions": 50, "verify": 50, "tables": 50}.items())
def test_any_change_inside_a_reached_definition_changes_the_digest(stage, count):
    tried = [(name, library.stage(stage).digest) for name, library in mutants(stage, wanted=True, count=count)]
    assert len(tried) > 30
    assert [name for name, digest in tried if digest == REAL.stage(stage).digest] == []


@pytest.mark.parametrize("stage", ["questions", "train"])
def test_no_change_inside_another_definition_changes_the_digest(stage):
    """Bodies, not names: what is bound to what stays."""
    tried = [(name, library.stage(stage).digest) for name, library in mutants(stage, wanted=False, count=60)]
    assert len(tried) > 30
    assert [name for name, digest in tried if digest != REAL.stage(stage).digest] == []


@pytest.mark.parametrize("seed", range(2))
def test_definitions_in_any_order_have_the_same_digest(seed):
    """Functions and classes of all modules, shuffled; constants and what runs on import stay where they are."""
    changed = {}
    for module in REAL.modules:
        if not module.startswith("distillery"):
            continue
        source = (WORKFLOW / "distillery" / file_of(module)).read_text()
        tree = ast.parse(source)
        functions = [part for part in tree.body if isinstance(part, ast.FunctionDef) and not part.decorator_list]
        others = [part for part in tree.body if part not in functions]
        random.Random(seed).shuffle(functions)
        tree.body = others + functions
        changed[module] = analyse(ast.unparse(tree).encode(), module, package=module in REAL.packages)
    shuffled = Library({**REAL.modules, **changed}, REAL.packages, REAL.root)
    assert {stage: shuffled.stage(stage).digest for stage in STAGES} == {
        stage: REAL.stage(stage).digest for stage in STAGES
    }


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the workflow whose files may be edited."""
    return shutil.copytree(WORKFLOW, tmp_path / "workflow", ignore=shutil.ignore_patterns("__pycache__"))


def test_a_kept_analysis_is_used_only_for_the_bytes_that_it_is_of(copy, monkeypatch):
    analysed = []
    monkeypatch.setattr(
        analyses, "analyse", lambda *args, **kwargs: analysed.append(args[1]) or analyse(*args, **kwargs)
    )

    def digest() -> str:
        analysed.clear()
        return Library.read(copy / "distillery", copy / "scripts").stage("train").digest

    first = digest()
    assert first == code_digest(WORKFLOW / "scripts" / "train.py") and len(analysed) > 100
    assert digest() == first and analysed == []
    path = copy / "distillery/training/losses.py"
    path.write_text(path.read_text().replace("IGNORE = -100", "IGNORE = -101"))
    assert digest() != first and analysed == ["distillery.training.losses"]
    path.write_text(path.read_text().replace("IGNORE = -101", "IGNORE = -100"))
    (kept,) = (copy / "distillery/__pycache__").glob("definitions.*.json")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "version": "another analysis"}))
    assert digest() == first and len(analysed) > 100
    kept.write_text(kept.read_text()[:1000])
    assert digest() == first and len(analysed) > 100


def test_a_stage_without_a_script_has_no_definitions():
    assert definition_digests("multiply") == {}


def test_every_stage_whose_libraries_are_named_exists():
    assert set(LIBRARIES) <= set(STAGES)
