# ruff: noqa: E501  (a slip is one line where it can be)
"""Slips in the wiring: a rule or an input function takes the neighbour's file, model or setting.

`tests/workflow/test_producers.py` should notice each: it plans the shipped experiments and the flow project, and compares
every input and parameter with `tests/workflow/producers.yaml`.
"""

from typing import NamedTuple


class WiringSlip(NamedTuple):
    """One change of one file below `workflow/`."""

    file: str
    old: str
    new: str


TRAINING = "distillery/planning/wiring/training_inputs.py"
PREDICTION = "distillery/planning/wiring/prediction_inputs.py"
COMMITTEE = "distillery/planning/wiring/committee_inputs.py"
SOURCE = "distillery/planning/wiring/source_inputs.py"
TABLES = "distillery/planning/wiring/table_cells.py"
WORKSPACE = "distillery/config/workspace.py"

WIRING_SLIPS = [
    # Mentors and soft labels
    WiringSlip(TRAINING, "recipe=mentor.trained_by, model=base", "recipe=wildcards.recipe, model=base"),
    WiringSlip(TRAINING, "recipe=mentor.trained_by, model=base", "recipe=mentor.trained_by, model=wildcards.model"),
    WiringSlip(TRAINING, "model=base, seed=wildcards.seed", 'model=base, seed="1"'),
    WiringSlip(
        TRAINING,
        'fill("<trained_model>/manifest.json", mentor_of(workspace, wildcards))',
        "base_manifest(mentor_of(workspace, wildcards).model)",
    ),
    WiringSlip(TRAINING, '"mentor" in recipe.objective.needs', "recipe.mentor is not None"),
    WiringSlip(
        TRAINING, 'fill("<sampled_mentor>", mentor, split="train"', 'fill("<sampled_mentor>", mentor, split="dev"'
    ),
    WiringSlip(
        WORKSPACE,
        'if mentor.model == "student":\n            return student',
        'if mentor.model == "student":\n            return str(self.find("setups", setup).mentor)',
    ),
    WiringSlip("rules/training.smk", "soft_labels=ask(training_inputs.soft_label_file)", "soft_labels=[]"),
    WiringSlip(
        "rules/training.smk",
        "mentor=ask(training_inputs.soft_label_manifest)",
        "mentor=ask(training_inputs.training_base)",
    ),
    WiringSlip("rules/training.smk", "precision=ask(training_inputs.training_precision)", 'precision="fp32"'),
    WiringSlip("rules/models.smk", 'model="{mentor}"', 'model="{model}"'),
    # Rows
    WiringSlip(
        TRAINING, "workspace.teacher(rows.source, wildcards.setup)", 'workspace.teacher("teacher", wildcards.setup)'
    ),
    WiringSlip(
        TRAINING,
        '"<verdicts>/verdicts.jsonl", whose=source.whose',
        '"<completions>/completions.jsonl", whose=source.whose',
    ),
    WiringSlip(
        TRAINING,
        "plain(prompt_of(workspace, source.sampler))",
        "plain(prompt_of(workspace, next(iter(sources))[1].sampler))",
    ),
    WiringSlip(TRAINING, "recipe=train.match_updates_of)", "recipe=wildcards.recipe)"),
    WiringSlip(
        "rules/training.smk",
        'repair=ask(prediction_inputs.repair_prompt),\n        seed=wildcard("seed", int),',
        "repair=ask(prediction_inputs.repair_prompt),\n        seed=1,",
    ),
    WiringSlip(
        "rules/training.smk",
        "prompt=ask(prediction_inputs.student_prompt_settings),\n        repair",
        "prompt=ask(committee_inputs.feedback_prompt),\n        repair",
    ),
    # Training
    WiringSlip(TRAINING, "pairs.after is not None and pairs.continues", "pairs.after is not None"),
    WiringSlip(TRAINING, "recipe=pairs.after)", "recipe=wildcards.recipe)"),
    WiringSlip(
        "rules/training.smk",
        "objective=ask(training_inputs.objective_settings)",
        "objective=ask(training_inputs.training_settings)",
    ),
    WiringSlip("rules/training.smk", "matched=ask(training_inputs.matched_rows)", "matched=[]"),
    WiringSlip("rules/training.smk", "checked=ask(training_inputs.tokenizer_checks)", "checked=[]"),
    # Predictions and scores
    WiringSlip(PREDICTION, "recipe=recipe.weights_of)", "recipe=wildcards.recipe)"),
    WiringSlip(PREDICTION, "if not recipe.trained:", "if True:"),
    WiringSlip(
        PREDICTION,
        '"prompt": repair_prompt(workspace, wildcards),',
        '"prompt": student_prompt_settings(workspace, wildcards),',
    ),
    WiringSlip(PREDICTION, '"answer_tokens": predict.answer_tokens', '"answer_tokens": predict.max_new_tokens'),
    WiringSlip(PREDICTION, '"<refined>" if', '"<predictions>" if'),
    WiringSlip(PREDICTION, '"rounds": refine.rounds', '"rounds": 1'),
    WiringSlip(
        PREDICTION, "predict.refine is None:\n        return []", "predict.refine is not None:\n        return []"
    ),
    WiringSlip("rules/evaluation.smk", 'questions="<questions>/{split}.jsonl"', 'questions="<questions>/train.jsonl"'),
    WiringSlip("rules/evaluation.smk", "reading=ask(prediction_inputs.student_reading)", 'reading={"form": "text"}'),
    WiringSlip(
        "rules/programs.smk",
        'questions="<questions>/{split}.jsonl",\n        exemplars="<questions>/exemplars.jsonl",\n        predictions',
        'questions="<questions>/train.jsonl",\n        exemplars="<questions>/exemplars.jsonl",\n        predictions',
    ),
    WiringSlip(SOURCE, '"samples": sampler.samples', '"samples": 1'),
    WiringSlip(SOURCE, '"delimiter": prompt.delimiter', '"delimiter": None'),
    WiringSlip(SOURCE, 'if hasattr(wildcards, "model"):', "if False:"),
    WiringSlip(SOURCE, "return base_manifest(parent) if parent else []", "return []"),
    WiringSlip(SOURCE, "workspace.samplers[wildcards.sampler].model)", "sorted(workspace.models)[0])"),
    # Committees
    WiringSlip(WORKSPACE, 'return f"{setup}/{pairs.after}/{student}/seed{seed}"', "return student"),
    WiringSlip(COMMITTEE, "teacher.feedback_decoding or teacher.decoding", "teacher.decoding"),
    WiringSlip(COMMITTEE, "workspace.prompts[teacher.feedback]", "workspace.prompts[teacher.rationale]"),
    WiringSlip(COMMITTEE, "committee.prompt_of_reviewer(name)", "committee.review.prompt"),
    WiringSlip(COMMITTEE, 'committee_of(workspace, wildcards).review.gate == "right"', "False"),
    WiringSlip(COMMITTEE, 'shown = committee_of(workspace, wildcards).review.hint == "reference"', "shown = False"),
    WiringSlip(COMMITTEE, "return committee_of(workspace, wildcards).review.grader", 'return "robust"'),
    WiringSlip(
        COMMITTEE, "plain(like.accept) if like is not None", "acceptance_rule(workspace, wildcards) if like is not None"
    ),
    WiringSlip(
        COMMITTEE,
        "workspace.prompts[committee.teachers[name].rationale])",
        "workspace.prompts[committee.teachers[name].feedback])",
    ),
    WiringSlip(COMMITTEE, "pairs.reviewed or (like is not None and like.reviewed)", "pairs.reviewed"),
    WiringSlip(COMMITTEE, "pairs.teacher or teachers[0]", "pairs.teacher or teachers[-1]"),
    WiringSlip(
        COMMITTEE,
        "workspace.prompts[pairs.feedback_prompt]",
        "workspace.prompts[recipe_of(workspace, wildcards).predict.prompt]",
    ),
    WiringSlip(
        "rules/peer_review.smk",
        "verdicts=ask(committee_inputs.student_verdicts)",
        "verdicts=ask(committee_inputs.student_completions)",
    ),
    WiringSlip(
        "rules/peer_review.smk",
        "accept=ask(committee_inputs.acceptance_rule)",
        "accept=ask(committee_inputs.size_matched_rule)",
    ),
    WiringSlip(
        "rules/verification.smk",
        "rationales=ask(committee_inputs.all_rationales)",
        "rationales=ask(committee_inputs.all_feedback)",
    ),
    # Tables
    WiringSlip(TABLES, "recipe.weights_of or (cell.recipe", "(cell.recipe"),
    WiringSlip(TABLES, '("rows", "trained_model")', '("rows",)'),
    WiringSlip(TABLES, 'fill("<refined>/rounds.jsonl", where)', 'fill("<predictions>/predictions.jsonl", where)'),
    WiringSlip(TABLES, "split=experiment.split", 'split="test"'),
    WiringSlip(TABLES, "seed=cell.seed,", "seed=1,"),
]
