# Completions of a split: a teacher as it is, or a mentor once it is trained.
rule sample_teacher:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest=sampler_manifest,
    output:
        completions="results/completions/{task}/{split}/{sampler}/completions.jsonl",
        summary="results/completions/{task}/{split}/{sampler}/summary.json",
        provenance="results/completions/{task}/{split}/{sampler}/provenance.json",
    log:
        "logs/sample/{task}/{split}/{sampler}.log",
    benchmark:
        "benchmarks/sample/{task}/{split}/{sampler}.tsv"
    priority: 20
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        spec=sampler_spec,
        sampler=lambda wildcards: wildcards.sampler,
        code=code("sample"),
        libraries=library_versions("sample"),
    script:
        "../scripts/sample.py"


use rule sample_teacher as sample_mentor with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest="results/models/{task}/{setup}/{recipe}/{model}/seed{seed}/manifest.json",
    output:
        completions="results/completions/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/completions.jsonl",
        summary="results/completions/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/completions/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/sample/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}.log",
    benchmark:
        "benchmarks/sample/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}.tsv"
