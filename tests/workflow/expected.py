"""Reads producers.yaml, and says what of a job differs from it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("producers.yaml")
WRITTEN = yaml.safe_load(FILE.read_text())
SAT = {"svamp-released": "released", "flow-untrained": "{model}"}
"""Setup -> who sat the exam, where it is no trained student."""


def _pattern(of: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+\*?\})", of)
    names = [
        f"(?P<{part[1:-1].rstrip('*')}>{'.+' if '*' in part else '[^/]+?'})" if part[:1] == "{" else re.escape(part)
        for part in parts
    ]
    return re.compile("".join(names))


JOBS = [(_pattern(job["of"]), job) for job in WRITTEN["jobs"]]


def _facts(found: Mapping[str, str]) -> dict[str, Any]:
    """The wildcards of an output, and what the file says of its setup, committee and sampler."""
    facts: dict[str, Any] = dict(found)
    if "recipe" in facts:
        facts |= {"full_recipe": facts["recipe"], "recipe": facts["recipe"].split(".")[0]}
        facts = WRITTEN["setups"].get(facts["setup"], {}) | facts
        facts["who"] = facts.get("who") or _sat_exam(facts)
    facts = WRITTEN["committees"].get(facts.get("committee"), {}) | facts
    facts["sampler_model"] = WRITTEN["samplers"].get(facts.get("sampler"), {}).get("model")
    return facts


def _sat_exam(facts: Mapping[str, Any]) -> str:
    """Whose mistakes the pairs of a recipe are about, as in paths."""
    if facts["setup"] in SAT:
        return SAT[facts["setup"]].format(model=facts.get("model"))
    before = {"mapd-paper": "fine-tune-cot-diverse"}.get(facts["recipe"], facts.get("taught"))
    if facts["full_recipe"].endswith(".round=2"):
        before = facts["full_recipe"].replace("round=2", "round=1")
    return f"{facts['setup']}/{before}/{facts.get('model')}/seed{facts.get('seed')}"


def _path(text: str, facts: Mapping[str, Any]) -> str:
    # A sweep's own name is part of every path that follows from it.
    values = {**facts, "recipe": facts.get("full_recipe", "")}
    text = re.sub(r"\{(\w+)\}", lambda name: str(values[name[1]]), text)
    return text if text.startswith(("data/", "config/")) else f"results/{text}"


def _files(wanted: Any, facts: Mapping[str, Any]) -> Any:
    if wanted == "none":
        return []
    if isinstance(wanted, str):
        return _path(wanted, facts)
    found = []
    for text in wanted:
        members = facts.get("members", []) if "{each member}" in text else [None]
        found += [_path(text.replace("{each member}", str(member)), facts) for member in members]
    return found


def expectation(outputs: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any], list[int]] | None:
    """Inputs and parameters that a job with these outputs must have, and the numbers of the entries; None: unknown."""
    inputs: dict[str, Any] = {}
    params: dict[str, Any] = {}
    used = []
    for number, (pattern, job) in enumerate(JOBS):
        for path in (path for name, path in outputs.items() if name != "provenance"):
            found = pattern.fullmatch(path.removeprefix("results/"))
            if found is None:
                continue
            facts = _facts(found.groupdict())
            if all(facts.get(name) in values for name, values in job.get("where", {}).items()):
                inputs |= {name: _files(wanted, facts) for name, wanted in job.get("inputs", {}).items()}
                params |= {name: _value(value, facts) for name, value in job.get("params", {}).items()}
                used.append(number)
            break
    return (inputs, params, used) if inputs else None


def _value(value: Any, facts: Mapping[str, Any]) -> Any:
    if not isinstance(value, str) or "{" not in value:
        return value
    filled = re.sub(r"\{(\w+)\}", lambda name: str(facts[name[1]]), value)
    return int(filled) if filled.isdigit() else filled


def differences(job: Mapping[str, Any], config: Path) -> list[str]:
    """What of a job's inputs and parameters is not as written; `config` holds the prompts that are named."""
    name = next(iter(job["outputs"].values()))
    found = expectation(job["outputs"])
    if found is None:
        return [f"{name}: producers.yaml says nothing about it"]
    inputs, params, _ = found
    faults = [
        f"{name}: input {key} is {job['inputs'].get(key)}, not {inputs.get(key)}"
        for key in sorted(inputs.keys() | job["inputs"].keys())
        if job["inputs"].get(key) != inputs.get(key)
    ]
    for key, wanted in params.items():
        given = _given(job["params"], key)
        if isinstance(wanted, str) and wanted.startswith("prompt "):
            text = yaml.safe_load((config / "prompts" / f"{wanted[7:]}.yaml").read_text())
            fits = isinstance(given, dict) and text.items() <= given.items()
        elif key == "libraries":
            fits = set(given) == set(wanted)
        else:
            fits = given == wanted
        if not fits:
            faults.append(f"{name}: parameter {key} is {given}, not {wanted}")
    return faults


def _given(params: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(params, Mapping) or part not in params:
            return f"<no {key}>"
        params = params[part]
    return params
