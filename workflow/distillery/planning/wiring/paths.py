"""Every path pattern of the workflow, once: Snakemake's pathvars are made from this table, and so are paths in Python.

`<name>` stands for another pattern of the table, `{name}` for a wildcard.

>>> from types import SimpleNamespace
>>> fill("<rows>/rows.jsonl", SimpleNamespace(task="dates", setup="paper", recipe="pad", model="t5", seed=1))
'results/rows/dates/paper/pad/t5/seed1/rows.jsonl'
>>> fill("<base_model>/manifest.json", model="t5")
'results/base_models/t5/manifest.json'
"""

import re

PATHS = {
    # What a path is about.
    "trained_student": "{setup}/{recipe}/{model}/seed{seed}",
    "cell": "{task}/<trained_student>",
    "cell_on_split": "{task}/{split}/<trained_student>",
    "sampled_teacher": "{task}/{split}/{sampler}",
    "sampled_mentor": "{task}/{split}/{sampler}/<trained_student>",
    "sampled_base_model": "{task}/{split}/{sampler}/{model}",
    "sampled_student": "{task}/{split}/{sampler}/{student}",
    "mistakes_of_student": "{task}/{committee}/{student}",
    # Folders of results. `whose` is one of the sampled patterns above; each rule that samples or verifies sets it.
    "questions": "results/questions/{task}",
    "base_model": "results/base_models/{model}",
    "completions": "results/completions/<whose>",
    "verdicts": "results/verdicts/<whose>",
    "committee_folder": "results/committees/<mistakes_of_student>",
    "member_folder": "<committee_folder>/members/{member}",
    "person_folder": "<committee_folder>/people/{person}",
    "rows": "results/rows/<cell>",
    "soft_labels": "results/soft_labels/<cell>",
    "trained_model": "results/models/<cell>",
    "predictions": "results/predictions/<cell_on_split>",
    "refined": "results/refined/<cell_on_split>",
    "scores": "results/scores/<cell_on_split>",
    "audit": "results/audits/<cell>",
    "table": "results/tables/{experiment}",
    "output_space": "results/output_space/{experiment}",
}
"""Name -> pattern. The wildcard `student` is a base model, or a trained student by its `trained_student`."""


def fill(pattern: str, wildcards: object = None, **values: object) -> str:
    """The path that a pattern stands for.

    Args:
        pattern: A path with `<name>` and `{name}`.
        wildcards: Has the wildcards of the pattern as attributes.
        values: Wildcards and patterns by name; they take the place of those in `wildcards` and `PATHS`.

    Raises:
        KeyError: The table has no such pattern.
        AttributeError: A wildcard has no value.
    """
    while re.search(r"<\w+>", pattern):
        pattern = re.sub(r"<(\w+)>", lambda found: str(values.get(found[1]) or PATHS[found[1]]), pattern)
    return re.sub(
        r"\{(\w+)\}",
        lambda found: str(values[found[1]] if found[1] in values else getattr(wildcards, found[1])),
        pattern,
    )
