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
