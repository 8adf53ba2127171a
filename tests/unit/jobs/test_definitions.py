"""Which edits of a small package change the digest of a stage, whose `main` calls `f` of module `a`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distillery.jobs.code_digest import Library

SCRIPT = "def main(x):\n    from distillery.a import f\n\n    return f(x)\n"
Files = dict[str, str]


def package(a: str, **others: str) -> Files:
    """Sources by path below the library; `b__c` is `b/c.py`, and `b_init` is `b/__init__.py`."""
    paths = {name: re.sub(r"_init$", "/__init__", name.replace("__", "/")) for name in others}
    found = {"a.py": a} | {f"{paths[name]}.py": text for name, text in others.items()}
    folders = {path.rpartition("/")[0] for path in found if "/" in path}
    return {"__init__.py": ""} | {f"{folder}/__init__.py": "" for folder in folders} | found


def digest(root: Path, files: Files, script: str = SCRIPT) -> str:
    for path, text in {
        "scripts/stage.py": script,
        **{f"distillery/{path}": text for path, text in files.items()},
    }.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return Library.read(root / "distillery", root / "scripts").stage("stage").digest


def both(tmp_path: Path, before: Files, after: Files) -> tuple[str, str]:
    return digest(tmp_path / "before", before), digest(tmp_path / "after", after)


F = "def f(x):\n    return g(x) + LIMIT\n\ndef g(x, y=2):\n    return x * y\n\nLIMIT = 1\n"
COUNT = "from distillery.b import COUNT\n"

SAME = {
    "a comment, a docstring and layout": (
        package("def f(x):\n    return (x + 1)\n"),
        package('"""A."""\n# remark\ndef f(\n    x\n):\n    """F."""\n    pass\n    return x+1\n'),
    ),
    "the text that documents an attribute": (
        package("class f:\n    x = 1\n"),
        package('class f:\n    x = 1\n    """Of f."""\n'),
    ),
    "the order of definitions": (
        package(F),
        package("LIMIT = 1\n\ndef g(x, y=2):\n    return x * y\n\ndef f(x):\n    return g(x) + LIMIT\n"),
    ),
    "an unused function": (package(F), package(F + "def h():\n    return g(1)\n")),
    "an unused class": (package(F), package(F + "class H:\n    limit = LIMIT\n")),
    "an unused constant": (package(F), package(F + "H = {'g': g, 'n': len('abc')}\n")),
    "an unused compiled pattern": (package(F), package("import re\n" + F + "H = re.compile('x')\n")),
    "an unused instance of a plain class": (
        package(F, b="class B:\n    n: int = 1\n"),
        package("from distillery.b import B\n" + F + "H = B(n=2)\n", b="class B:\n    n: int = 1\n"),
    ),
    "an unused import": (package(F), package("import json\nfrom math import floor\n" + F)),
    "another unused definition in a module that is used": (
        package(COUNT + "def f(x):\n    return COUNT\n", b="COUNT = 1\n"),
        package(COUNT + "def f(x):\n    return COUNT\n", b="COUNT = 1\nOTHER = 2\n"),
    ),
    "a definition moved to another module": (
        package(F),
        package("from distillery.b import LIMIT, g\n\ndef f(x):\n    return g(x) + LIMIT\n", b=F.partition("\n\n")[2]),
    ),
    "a definition moved behind a re-export": (
        package(COUNT + "def f(x):\n    return COUNT\n", b="COUNT = 1\n"),
        package(COUNT + "def f(x):\n    return COUNT\n", b="from distillery.c.d import COUNT\n", c__d="COUNT = 1\n"),
    ),
    "an import under another name": (
        package(COUNT + "def f(x):\n    return COUNT\n", b="COUNT = 1\n"),
        package("from distillery.b import COUNT as N\ndef f(x):\n    return N\n", b="COUNT = 1\n"),
    ),
    "a module renamed": (
        package(COUNT + "def f(x):\n    return COUNT\n", b="COUNT = 1\nprint(COUNT)\n"),
        package("from distillery.z import COUNT\ndef f(x):\n    return COUNT\n", z="COUNT = 1\nprint(COUNT)\n"),
    ),
    "annotations of a signature and of a variable": (
        package("def f(x):\n    y = x\n    return y\n"),
        package("from typing import Any\ndef f(x: Any) -> 'Any':\n    z: int\n    y: Any = x\n    return y\n"),
    ),
    "an import for type checkers": (
        package("def f(x):\n    return x\n", b="print(1)\n"),
        package(
            "import typing\nif typing.TYPE_CHECKING:\n    from distillery.b import B\ndef f(x: B):\n    return x\n",
            b="print(1)\n",
        ),
    ),
    "quotes around an annotation": (
        package("class A:\n    x = 1\nclass f:\n    a: A\n"),
        package("class A:\n    x = 1\nclass f:\n    a: 'A'\n"),
    ),
    "another class that has the name of its base class": (
        package(F, b="class B:\n    n = 1\n"),
        package("from distillery.b import B\n" + F + "class B(B):\n    m = 1\nH = B()\n", b="class B:\n    n = 1\n"),
    ),
    "what runs only as a program": (package(F), package(F + "if __name__ == '__main__':\n    f(1)\n")),
    "the description of a setting": (
        package("from pydantic import Field\nclass f:\n    x: int = Field(1, description='old')\n"),
        package("from pydantic import Field\nclass f:\n    x: int = Field(1, description='new')\n"),
    ),
    "a constant that a parameter shadows": (
        package("N = 1\ndef f(N):\n    return N\n"),
        package("N = 2\ndef f(N):\n    return N\n"),
    ),
    "a constant that a local variable shadows": (
        package("N = 1\ndef f(x):\n    for N in x:\n        return N\n"),
        package("N = 2\ndef f(x):\n    for N in x:\n        return N\n"),
    ),
    "a constant that a comprehension's variable shadows": (
        package("N = 1\ndef f(x):\n    return [N for N in x if N]\n"),
        package("N = 2\ndef f(x):\n    return [N for N in x if N]\n"),
    ),
    "a constant that an enclosing function shadows": (
        package("N = 1\ndef f(x):\n    N = x\n    def g():\n        return N\n    return g\n"),
        package("N = 2\ndef f(x):\n    N = x\n    def g():\n        return N\n    return g\n"),
    ),
    "a field whose name is that of a function": (
        package("def text():\n    return 1\nclass f:\n    text: str = 'x'\n    other = text\n"),
        package("def text():\n    return 2\nclass f:\n    text: str = 'x'\n    other = text\n"),
    ),
    "what an import inside an unused function brings": (
        package(F + "def h():\n    import distillery.b\n", b="print(1)\n"),
        package(F + "def h():\n    import distillery.b\n", b="print(2)\n"),
    ),
    "a neutral module": (
        package(
            "from distillery.errors import UserError\ndef f(x):\n    raise UserError(x)\n",
            errors="class UserError: x = 1\n",
        ),
        package(
            "from distillery.errors import UserError\ndef f(x):\n    raise UserError(x)\n",
            errors="class UserError: x = 2\n",
        ),
    ),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_no_result_depends_on_leaves_the_digest(tmp_path, before, after):
    old, new = both(tmp_path, before, after)
    assert old == new


def swap(text: str, old: str = "1", new: str = "2", **others: str) -> tuple[Files, Files]:
    """A package with module `a` before and after replacing a text in it."""
    assert old in text
    return package(text, **others), package(text.replace(old, new), **others)


def below(a: str, old: str, new: str, **others: str) -> tuple[Files, Files]:
    """A package before and after replacing a text in another module than `a`."""
    changed = {name: text.replace(old, new) for name, text in others.items()}
    assert changed != others
    return package(a, **others), package(a, **changed)


REGISTER = "FOUND = {}\ndef register(g):\n    FOUND[g.__name__] = g\n    return g\n"
REGISTERED = "from distillery.registry import register\n@register\ndef g():\n    return 1\n"
CALLS_REGISTERED = "import distillery.b\nfrom distillery.registry import FOUND\ndef f(x):\n    return FOUND[x]()\n"
HELPER = "N = {}\ndef g():\n    return N\n"

DIFFERENT = {
    "a body": swap("def f(x):\n    return x + 1\n"),
    "an operator": swap("def f(x):\n    return x + 1\n", "+", "-"),
    "a default": swap("def f(x, y=1):\n    return x\n"),
    "a default of a keyword": swap("def f(x, *, y=1):\n    return x\n"),
    "a constant behind a default": swap("N = 1\ndef f(x, y=N):\n    return x\n"),
    "a constant behind a constant": swap("N = 1\nM = {'n': N}\ndef f(x):\n    return M\n"),
    "a text in braces": swap("N = 1\ndef f(x):\n    return f'{x} {N}'\n"),
    "the format of a text in braces": swap("def f(x):\n    return f'{x:.1f}'\n"),
    "a parameter's name": swap("def f(x):\n    return x\n", "x", "y"),
    "a decorator": swap("import functools\n@functools.cache\ndef f(x):\n    return x\n", "cache", "lru_cache"),
    "the body of a decorator": swap("def d(g):\n    return 1\n@d\ndef f(x):\n    return x\n"),
    "a base class": swap("class A:\n    x = 1\nclass B:\n    x = 1\nclass f(A):\n    pass\n", "f(A)", "f(B)"),
    "the body of a base class": swap("class A:\n    x = 1\nclass f(A):\n    pass\n"),
    "a method": swap("class f:\n    def g(self):\n        return 1\n"),
    "a class attribute": swap("class f:\n    x = 1\n"),
    "a field's type": swap("class f:\n    x: int = 1\n", "int", "str"),
    "a class in a field's type": swap("class A:\n    x = 1\nclass f:\n    a: 'list[A]'\n"),
    "a global constant where a class has an attribute of that name": swap(
        "N = 1\nclass f:\n    N = 0\n    def g(self):\n        return N\n", "N = 1", "N = 2"
    ),
    "a nested function": swap("def f(x):\n    def g():\n        return 1\n    return g\n"),
    "a lambda": swap("f = lambda x: x + 1\n"),
    "the first iterable of a comprehension": swap("N = [1]\ndef f(x):\n    return [N for N in N]\n"),
    "a global variable": swap("N = 1\ndef f(x):\n    global N\n    N += x\n    return N\n"),
    "a global variable inside a function with a local one": swap(
        "N = 1\ndef f(x):\n    N = 0\n    def g():\n        global N\n        return N\n    return g\n",
        "N = 1",
        "N = 2",
    ),
    "what takes the place of an import for type checkers": swap(
        "import typing\nif typing.TYPE_CHECKING:\n    import b\nelse:\n    N = 1\ndef f(x):\n    return N\n"
    ),
    "an annotation that a decorator may read": swap(
        "from pydantic import validate_call\n@validate_call\ndef f(x: int):\n    return x\n", "int", "str"
    ),
    "a definition in another module": below(COUNT + "def f(x):\n    return COUNT\n", "1", "2", b="COUNT = 1\n"),
    "a name behind a re-export": below(
        COUNT + "def f(x):\n    return COUNT\n", "1", "2", b="from distillery.c import COUNT\n", c="COUNT = 1\n"
    ),
    "an import inside a function": below(
        "def f(x):\n    from distillery.b import COUNT\n    return COUNT\n", "1", "2", b="COUNT = 1\n"
    ),
    "a relative import": below("from .b import COUNT\ndef f(x):\n    return COUNT\n", "1", "2", b="COUNT = 1\n"),
    "a submodule of a package": below(
        "from distillery.b import c\ndef f(x):\n    return c.N\n", "1", "2", b__c="N = 1\n"
    ),
    "a dotted import": below(
        "import distillery.b.c\ndef f(x):\n    return distillery.b.c.N\n", "1", "2", b__c="N = 1\n"
    ),
    "a dotted import under another name": below(
        "import distillery.b.c as m\ndef f(x):\n    return m.N\n", "1", "2", b__c="N = 1\n"
    ),
    "a conditional import": below(
        "try:\n    from distillery.b import N\nexcept ImportError:\n    N = 0\ndef f(x):\n    return N\n",
        "1",
        "2",
        b="N = 1\n",
    ),
    "what a conditional import falls back to": swap(
        "try:\n    from json import N\nexcept ImportError:\n    N = 1\ndef f(x):\n    return N\n"
    ),
    "a star import": below("from distillery.b import *\ndef f(x):\n    return N\n", "1", "2", b="N = 1\n"),
    "a re-exported star import": below(
        COUNT + "def f(x):\n    return COUNT\n", "1", "2", b="from distillery.c import *\n", c="COUNT = 1\n"
    ),
    "an attribute of a module by its name": below(
        "from distillery import b\ndef f(x):\n    return getattr(b, x)()\n", "1", "2", b="def g():\n    return 1\n"
    ),
    "a module in a registry": below(
        "from distillery import b\nALL = {'b': b}\ndef f(x):\n    return ALL[x].g()\n",
        "1",
        "2",
        b="def g():\n    return 1\n",
    ),
    "a submodule in the registry of its package": below(
        "from distillery.b import ALL\ndef f(x):\n    return ALL[x].g()\n",
        "1",
        "2",
        b_init="from distillery.b import c\nALL = {'c': c}\n",
        b__c="def g():\n    return 1\n",
    ),
    "a function in a registry": swap("def g():\n    return 1\nALL = {'g': g}\ndef f(x):\n    return ALL[x]()\n"),
    "globals()": swap("def g():\n    return 1\ndef f(x):\n    return globals()[x]()\n"),
    "sys.modules": swap(
        "import sys\ndef g():\n    return 1\ndef f(x):\n    return getattr(sys.modules[__name__], x)()\n"
    ),
    "a module imported by its name": below(
        "import importlib\ndef f(x):\n    return importlib.import_module(f'distillery.b.{x}')\n",
        "1",
        "2",
        b__c="N = 1\n",
    ),
    "a module run by its name": below("def f(x):\n    return ['-m', 'distillery.b.c']\n", "1", "2", b__c="N = 1\n"),
    "a program run by its path": below(
        "from distillery import b\ndef f(x):\n    return b.__file__\n",
        "1",
        "2",
        b="if __name__ == '__main__':\n    print(1)\n",
    ),
    "an attribute that a module makes up": below(
        "from distillery import b\ndef f(x):\n    return b.N\n", "1", "2", b="def __getattr__(name):\n    return 1\n"
    ),
    "a registered function that nothing names": below(
        CALLS_REGISTERED, "return 1", "return 2", b=REGISTERED, registry=REGISTER
    ),
    "another registered function": (
        package(CALLS_REGISTERED, b=REGISTERED, registry=REGISTER),
        package(CALLS_REGISTERED, b=REGISTERED + "@register\ndef h():\n    return 1\n", registry=REGISTER),
    ),
    "a function that is put into a registry": below(
        CALLS_REGISTERED,
        "return 1",
        "return 2",
        b="from distillery.registry import FOUND\ndef g():\n    return 1\nFOUND['g'] = g\n",
        registry=REGISTER,
    ),
    "a subclass that registers itself": (
        package(
            "from distillery.b import B\ndef f(x):\n    return B.found\n",
            b=(b := "class B:\n    found = []\n    def __init_subclass__(cls):\n        B.found.append(cls)\n"),
        ),
        package("from distillery.b import B\ndef f(x):\n    return B.found\n", b=b + "class C(B):\n    pass\n"),
    ),
    "an instance that registers itself": (
        package(
            "from distillery.b import B\ndef f(x):\n    return B.found\n",
            b=(c := "class B:\n    found = []\n    def __init__(self, x):\n        B.found.append(x)\n"),
        ),
        package("from distillery.b import B\ndef f(x):\n    return B.found\n", b=c + "D = B(1)\n"),
    ),
    "a statement in an imported module": below(
        "import distillery.b\ndef f(x):\n    return x\n", "1", "2", b="import os\nos.environ['N'] = '1'\n"
    ),
    "a statement in the package of an imported module": below(
        "import distillery.b.c\ndef f(x):\n    return x\n", "1", "2", b_init="print(1)\n", b__c=""
    ),
    "a statement in a module that a function imports": below(
        "def f(x):\n    import distillery.b\n    return x\n", "1", "2", b="print(1)\n"
    ),
    "a submodule of a package that is a value": below(
        "import distillery.b.c\nfrom distillery import b\ndef f(x):\n    return getattr(b, x)\n",
        "1",
        "2",
        b__c="N = 1\n",
    ),
    "the order of statements that run on import": swap(
        "N = []\nN.append(1)\nN.append(3)\ndef f(x):\n    return N\n", "(1)\nN.append(3)", "(3)\nN.append(1)"
    ),
    "a name that is bound twice": swap("N = 1\nN = 3\ndef f(x):\n    return N\n", "N = 1\nN = 3", "N = 3\nN = 1"),
    "another definition of the same name": (
        package(
            "import distillery.b, distillery.c\nfrom distillery.b import N\ndef f(x):\n    return N, distillery.c.N\n",
            b="N = 1\n",
            c="N = 2\n",
        ),
        package(
            "import distillery.b, distillery.c\nfrom distillery.b import N\ndef f(x):\n    return N, distillery.c.N\n",
            b="N = 2\n",
            c="N = 1\n",
        ),
    ),
    "an import of another definition that is reached already": below(
        "from distillery import b, c, d\ndef f(x):\n    return b.g, c.g, d.h\n",
        "distillery.b",
        "distillery.c",
        b="def g():\n    return 1\n",
        c="def g():\n    return 2\n",
        d="from distillery.b import g\ndef h():\n    return g()\n",
    ),
    "definitions of equal text that refer to different ones": (
        package(
            "import distillery.b, distillery.c\ndef f(x):\n    return distillery.b.g(), distillery.c.g()\n",
            b=HELPER.format(1),
            c=HELPER.format(2),
        ),
        package(
            "import distillery.b, distillery.c\ndef f(x):\n    return distillery.b.g(), distillery.c.g()\n",
            b=HELPER.format(2),
            c=HELPER.format(1),
        ),
    ),
}


@pytest.mark.parametrize(("before", "after"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_a_result_may_depend_on_changes_the_digest(tmp_path, before, after):
    old, new = both(tmp_path, before, after)
    assert old != new


PATH = "from pathlib import Path\n"
READERS = {
    "a file": PATH + "def f(x):\n    return (Path(__file__).parent / 'pages' / 'one.html').read_text()\n",
    "a folder": PATH + "PAGES = Path(__file__).with_name('pages')\ndef f(x):\n    return PAGES / x\n",
    "a folder of another room": PATH
    + "HERE = Path(__file__).resolve().parents[1]\nPAGES = HERE / 'pages'\ndef f(x):\n    return PAGES\n",
    "in another way": "import os\ndef f(x):\n    return os.path.dirname(__file__)\n",
    "by a loader of a package": "import jinja2\ndef f(x):\n    return jinja2.PackageLoader('distillery.room')\n",
    "by a loader of this module": "from jinja2 import PackageLoader\ndef f(x):\n    return PackageLoader(__name__)\n",
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_file_that_a_reached_definition_reads_is_part_of_the_digest(tmp_path, reader):
    above = "parents[1]" in reader
    files = {"__init__.py": "", "room/__init__.py": "", "room/a.py": reader}
    script = SCRIPT.replace("distillery.a", "distillery.room.a")
    page = tmp_path / "distillery" / ("pages/one.html" if above else "room/pages/one.html")
    page.parent.mkdir(parents=True)
    page.write_text("<p>1</p>")
    old = digest(tmp_path, files, script)
    page.write_text("<p>2</p>")
    assert digest(tmp_path, files, script) != old
    unused = {**files, "room/a.py": reader.replace("def f(", "def g(") + "def f(x):\n    return x\n"}
    page.write_text("<p>1</p>")
    old = digest(tmp_path, unused, script)
    page.write_text("<p>2</p>")
    assert digest(tmp_path, unused, script) == old, "nothing that is reached reads it"


def test_what_starts_the_job_and_what_the_script_does_beside_it(tmp_path):
    end = "from distillery.jobs.runner import run_script\nrun_script('stage', main, globals())\n"
    files = package(F, jobs__runner="def run_script(*x):\n    return 1\n")
    old = digest(tmp_path, files, SCRIPT + end)
    assert digest(tmp_path, files, SCRIPT + "def unused():\n    return 1\n" + end) == old
    assert digest(tmp_path, files, SCRIPT + "print(1)\n" + end) != old


OTHER_PYTHONS = [
    path
    for version in ("3.12", "3.13", "3.14")
    for path in [
        *Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser().glob(f"versions/{version}.*/bin/python"),
        *Path("/usr/bin").glob(f"python{version}"),
    ]
]


@pytest.mark.skipif(not OTHER_PYTHONS, reason="no other Python is installed")
@pytest.mark.parametrize("python", OTHER_PYTHONS, ids=str)
def test_the_digest_is_the_same_under_another_python(python):
    library = Path(__file__).parents[3] / "workflow"
    program = (
        "from distillery.jobs import code_digest as c\nfrom pathlib import Path\n"
        "scripts = c.LIBRARY.parent / 'scripts'\n"
        "print(*[c.code_digest(path) for path in sorted(scripts.glob('*.py'))])"
    )
    found = [
        subprocess.run(
            [each, "-c", program], env={"PYTHONPATH": str(library)}, capture_output=True, text=True, check=True
        )
        for each in (sys.executable, python)
    ]
    assert found[0].stdout == found[1].stdout and len(found[0].stdout.split()) > 20
