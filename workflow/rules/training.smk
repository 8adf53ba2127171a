# Training rows of a recipe, from gold answers and verified completions.
rule compose:
    input:
        questions="<questions>/train.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        completions=ask(training_inputs.source_completions),
        verdicts=ask(training_inputs.source_verdicts),
    output:
        rows="<rows>/rows.jsonl",
        summary="<rows>/summary.json",
        provenance="<rows>/provenance.json",
    log:
        "logs/compose/<cell>.log",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("compose"),
        sources=ask(training_inputs.row_settings),
        sampled=ask(training_inputs.source_prompts),
        prompt=ask(prediction_inputs.student_prompt_settings),
        repair=ask(prediction_inputs.repair_prompt),
        seed=wildcard("seed", int),
    script:
        "../scripts/compose.py"


# Training pairs of a recipe, by a pure decision about stored reviews; and the audit of these reviews.
rule compose_pairs:
    input:
        mistakes=ask(for_recipe(committee_inputs.mistakes)),
        exemplars="<questions>/exemplars.jsonl",
        rationales=ask(for_recipe(committee_inputs.all_rationales)),
        feedback=ask(for_recipe(committee_inputs.all_feedback)),
        reviews=ask(committee_inputs.reviews_used),
        verdicts=ask(for_recipe(committee_inputs.answer_checks)),
    output:
        rows="<rows>/rows.jsonl",
        acceptances="<rows>/acceptances.jsonl",
        summary="<rows>/summary.json",
        provenance="<rows>/provenance.json",
    log:
        "logs/compose_pairs/<cell>.log",
    wildcard_constraints:
        recipe=any_of(committee_inputs.pair_recipes(workspace)),
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("compose_pairs"),
        pairs=ask(committee_inputs.pair_settings),
        like=ask(committee_inputs.size_matched_rule),
        prompt=ask(prediction_inputs.student_prompt_settings),
        feedback_prompt=ask(committee_inputs.feedback_prompt),
        seed=wildcard("seed", int),
    script:
        "../scripts/compose_pairs.py"


ruleorder: compose_pairs > compose


# What a trained mentor expects at every target token of the rows, for trainings on these rows. Equal rows and mentors are a
# single computation, whatever the student, the seed and the weight of the loss: the cache answers for the others.
rule soft_labels:
    input:
        rows="<rows>/rows.jsonl",
        mentor=ask(training_inputs.soft_label_manifest),
        checked=ask(training_inputs.vocabulary_checks),
    output:
        labels="<soft_labels>/labels.arrow",
        summary="<soft_labels>/summary.json",
        provenance="<soft_labels>/provenance.json",
    log:
        "logs/soft_labels/<cell>.log",
    wildcard_constraints:
        recipe=any_of(training_inputs.soft_label_recipes(workspace)),
    priority: 20
    conda:
        "../../envs/training.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=8_000,
        runtime=240,
    params:
        **stage("soft_labels"),
        kept=ask(training_inputs.soft_label_settings),
        precision=ask(training_inputs.training_precision),
    script:
        "../scripts/soft_labels.py"


# A model trained on the rows of a recipe. The mentor of a setup is trained like any student, on a larger base.
rule train_student:
    input:
        rows="<rows>/rows.jsonl",
        base=ask(training_inputs.training_base),
        mentor=ask(training_inputs.mentor_beside),
        soft_labels=ask(training_inputs.soft_label_file),
        matched=ask(training_inputs.matched_rows),
        checked=ask(training_inputs.tokenizer_checks),
    output:
        folder=directory("<trained_model>/model"),
        manifest="<trained_model>/manifest.json",
        summary="<trained_model>/summary.json",
        provenance="<trained_model>/provenance.json",
    log:
        "logs/train/<cell>.log",
    benchmark:
        "benchmarks/train/<cell>.tsv"
    priority: ask(training_inputs.training_priority)
    conda:
        "../../envs/training.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=1440,
    params:
        **stage("train"),
        train=ask(training_inputs.training_settings),
        objective=ask(training_inputs.objective_settings),
        form=ask(prediction_inputs.student_form),
        seed=wildcard("seed", int),
    script:
        "../scripts/train.py"


use rule train_student as train_mentor with:
    wildcard_constraints:
        model=any_of(training_inputs.mentor_models(workspace)),
    priority: 20


ruleorder: train_mentor > train_student
