# Training rows of a recipe, from gold answers and verified completions.
rule compose:
    input:
        questions="results/questions/{task}/train.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        completions=source_completions,
        verdicts=source_verdicts,
    output:
        rows="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/rows.jsonl",
        summary="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/compose/{task}/{setup}/{recipe}/{model}/seed{seed}.log",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        sources=lambda wildcards: {name: plain(rows) for name, rows in sorted(recipe_of(wildcards).rows.items())},
        sampled=source_prompts,
        prompt=lambda wildcards: plain(student_prompt(wildcards)),
        repair=repair_prompt,
        seed=lambda wildcards: int(wildcards.seed),
        code=code("compose"),
        libraries=library_versions("compose"),
    script:
        "../scripts/compose.py"


# Training pairs of a recipe, by a pure decision about stored reviews; and the audit of these reviews.
rule compose_pairs:
    input:
        mistakes=committee_input(lambda where: f"{committee_folder(where)}/mistakes.jsonl"),
        exemplars="results/questions/{task}/exemplars.jsonl",
        rationales=committee_input(all_rationales),
        feedback=committee_input(lambda where: taught("feedback", where)),
        reviews=reviews_used,
        verdicts=committee_input(lambda where: f"{committee_folder(where)}/verdicts.jsonl"),
    output:
        rows="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/rows.jsonl",
        acceptances="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/acceptances.jsonl",
        summary="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/compose_pairs/{task}/{setup}/{recipe}/{model}/seed{seed}.log",
    wildcard_constraints:
        recipe=any_of(pair_recipes()),
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        pairs=pairs_section,
        like=size_matched_rule,
        prompt=lambda wildcards: plain(student_prompt(wildcards)),
        feedback_prompt=lambda wildcards: prompt_section(recipe_of(wildcards).pairs.feedback_prompt),
        seed=lambda wildcards: int(wildcards.seed),
        code=code("compose_pairs"),
        libraries=library_versions("compose_pairs"),
    script:
        "../scripts/compose_pairs.py"


ruleorder: compose_pairs > compose


# A model trained on the rows of a recipe. The mentor of a setup is trained like any student, on a larger base.
rule train_student:
    input:
        rows="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/rows.jsonl",
        base=training_base,
        mentor=soft_label_manifest,
        matched=matched_rows,
        checked=tokenizer_checks,
    output:
        folder=directory("results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/model"),
        manifest="results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/manifest.json",
        summary="results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/train/{task}/{setup}/{recipe}/{model}/seed{seed}.log",
    benchmark:
        "benchmarks/train/{task}/{setup}/{recipe}/{model}/seed{seed}.tsv"
    priority: 10
    conda:
        "../../envs/training.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=1440,
    params:
        train=lambda wildcards: plain(recipe_of(wildcards).train),
        objective=lambda wildcards: plain(recipe_of(wildcards).objective),
        form=lambda wildcards: student_prompt(wildcards).form,
        seed=lambda wildcards: int(wildcards.seed),
        code=code("train"),
        libraries=library_versions("train"),
    script:
        "../scripts/train.py"


use rule train_student as train_mentor with:
    wildcard_constraints:
        model=any_of(mentor_models()),
    priority: 20


ruleorder: train_mentor > train_student
