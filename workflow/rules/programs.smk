# Answers by step-by-step verification, for the recipes that have it: a beam search over the lines of programs.
rule search:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest=answering_manifest,
    output:
        completions="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/predictions.jsonl",
        summary="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/search/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.log",
    benchmark:
        "benchmarks/search/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.tsv"
    wildcard_constraints:
        recipe=any_of(searching_recipes()),
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        spec=search_spec,
        sampler=lambda wildcards: wildcards.recipe,
        code=code("search"),
        libraries=library_versions("search"),
    script:
        "../scripts/search.py"


ruleorder: search > predict


# Predictions after self-refinement: programs that failed visibly went back to the student, with the error.
rule refine:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        predictions="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/predictions.jsonl",
        manifest=answering_manifest,
    output:
        refined="results/refined/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/predictions.jsonl",
        rounds="results/refined/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/rounds.jsonl",
        summary="results/refined/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/refined/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/refine/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.log",
    benchmark:
        "benchmarks/refine/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.tsv"
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        spec=refine_spec,
        code=code("refine"),
        libraries=library_versions("refine"),
    script:
        "../scripts/refine.py"
