"""What the environments promise: one source of pins, and the right engine for each machine."""

import importlib.util
import itertools
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    """A program of envs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "envs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load("generate")
setup = load("setup_environment")

LAPTOP = setup.Facts(system="Linux", machine="x86_64", nvidia=False, cpu_torch=True, wanted="")


# One source of pins.


@pytest.mark.parametrize("family", generate.FAMILIES)
def test_a_conda_file_is_what_pyproject_and_lock_say(family):
    text = (ROOT / "envs" / f"{family}.yaml").read_text()
    assert text == generate.conda_file(family), "run: make conda"


def test_every_dependency_is_locked_inside_its_range():
    locked = generate.locked()
    for requirement in generate.requirements(generate.project(), generate.LOCKED_EXTRAS):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing in envs/lock.txt"
        assert requirement.specifier.contains(version), f"envs/lock.txt has {requirement.name} {version}"


def test_the_lock_needs_nothing_that_it_lacks():
    try:
        needed = generate.closure()
    except generate.metadata.PackageNotFoundError as error:
        pytest.skip(f"{error} is not installed here: this is not the locked environment")
    assert set(needed) <= set(generate.locked())


def test_the_lock_names_no_path_and_no_misfit():
    text = (ROOT / "envs" / "lock.txt").read_text()
    assert "/" not in text.replace("envs/", "")
    assert "@" not in text
    assert not generate.MISFITS & set(generate.locked())


def test_both_programs_agree_on_what_is_locked():
    assert set(setup.MISFITS) == generate.MISFITS
    assert {*setup.COMMON_EXTRAS, setup.CPU.extra} == set(generate.LOCKED_EXTRAS)
    assert setup.CPU_TORCH == f"torch=={generate.locked()['torch']}"


# The right engine for each machine.


def test_a_gpu_gets_the_gpu_engine():
    assert setup.choose(LAPTOP._replace(nvidia=True)) is setup.GPU


def test_a_cpu_gets_the_cpu_engine_where_its_torch_can_be_had():
    assert setup.choose(LAPTOP) is setup.CPU


def test_without_the_cpu_torch_the_user_is_told_what_is_used_and_how_to_get_more():
    choice = setup.choose(LAPTOP._replace(cpu_torch=False))
    assert choice.extra is None
    assert "transformers backend" in choice.notice
    assert "DISTILLERY_TORCH_INDEX" in choice.notice


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64")])
def test_a_machine_without_an_engine_falls_back_with_a_notice(system, machine):
    choice = setup.choose(LAPTOP._replace(system=system, machine=machine))
    assert choice.extra is None
    assert machine in choice.notice


def test_the_user_has_the_last_word():
    assert setup.choose(LAPTOP._replace(wanted="gpu")) is setup.GPU
    assert setup.choose(LAPTOP._replace(nvidia=True, wanted="cpu")) is setup.CPU
    asked = setup.choose(LAPTOP._replace(nvidia=True, wanted="transformers"))
    assert (asked.extra, asked.notice) == (None, "")


def test_every_machine_gets_some_engine():
    fields = (
        ["Linux", "Darwin"],
        ["x86_64", "arm64"],
        [True, False],
        [True, False],
        ["", "gpu", "cpu", "transformers"],
    )
    for values in itertools.product(*fields):
        choice = setup.choose(setup.Facts(*values))
        assert choice.name in ("gpu", "cpu", "transformers")
        assert choice.extra is None or choice.extra in generate.project()["optional-dependencies"]


def test_the_cpu_index_never_reaches_a_gpu_environment():
    for python in [(3, 11), (3, 12)]:
        assert not any("index" in word for line in setup.install_commands(setup.GPU, python, "index") for word in line)
        assert any("index" in word for line in setup.install_commands(setup.CPU, python, "index") for word in line)


# Only what changed is done again.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A set-up program on a folder of its own, which notes what it would do to .venv."""
    done = []
    (tmp_path / "envs").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "envs" / "lock.txt").write_text("")

    def make_venv(asked, *, anew):
        done.append("anew" if anew else "kept")
        (tmp_path / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / ".venv" / "bin" / "python").touch()
        return (3, 11)

    for name, value in {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "STAMP": tmp_path / ".venv" / "stamp.json",
        "make_venv": make_venv,
        "pip": lambda *arguments: done.append(arguments[0]),
        "compile_modules": lambda: None,
        "has_nvidia": lambda: False,
        "cpu_torch_available": lambda index: bool(index),
        "platform": type("", (), {"system": lambda: "Linux", "machine": lambda: "x86_64"}),
    }.items():
        monkeypatch.setattr(setup, name, value)
    for name in ("DISTILLERY_INFERENCE", "DISTILLERY_TORCH_INDEX"):
        monkeypatch.delenv(name, raising=False)

    def run():
        done.clear()
        setup.set_up(None)
        return list(done)

    return tmp_path, run


def test_a_second_run_does_nothing(machine):
    _, run = machine
    assert run() != []
    assert run() == []


def test_a_changed_pin_updates_the_environment_in_place(machine):
    folder, run = machine
    run()
    (folder / "envs" / "lock.txt").write_text("six==1.17.0\n")
    assert run()[:2] == ["kept", "install"]


def test_a_moved_folder_gets_a_new_environment(machine, monkeypatch):
    folder, run = machine
    run()
    stamp = folder / ".venv" / "stamp.json"
    stamp.write_text(stamp.read_text().replace(str(folder), "/elsewhere"))
    assert run()[0] == "anew"


def test_another_engine_gets_a_new_environment(machine, monkeypatch):
    _, run = machine
    run()
    monkeypatch.setenv("DISTILLERY_TORCH_INDEX", "an index that has the wheel")
    assert "anew" in run()


def test_an_interrupted_run_is_finished_by_the_next(machine, monkeypatch):
    _, run = machine
    with monkeypatch.context() as broken:
        broken.setattr(setup, "compile_modules", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run()
    assert "install" in run()


def test_a_misspelt_engine_is_refused_with_the_choices(machine, monkeypatch):
    _, run = machine
    monkeypatch.setenv("DISTILLERY_INFERENCE", "cuda")
    with pytest.raises(SystemExit, match="'cuda': say gpu, cpu or transformers"):
        run()


@pytest.mark.parametrize(
    ("version", "reason"), [("3 9", "is Python 3.9"), ("3 12", "cannot make environments"), ("", "not found")]
)
def test_an_unusable_python_is_named_with_its_reason(tmp_path, version, reason):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$2" in *version_info*) echo {version};; *) exit 1;; esac\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit, match=f"{python}: {reason}"):
        setup.find_python(str(python))
