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
        recipe=lambda wildcards: wildcards.recipe,
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
