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


# The exam: the untrained student answers the train split. One that was trained is sampled and verified like a mentor.
use rule sample_teacher as sample_student_answers with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest="results/base_models/{model}/manifest.json",
    output:
        completions="results/completions/{task}/{split}/{sampler}/{model}/completions.jsonl",
        summary="results/completions/{task}/{split}/{sampler}/{model}/summary.json",
        provenance="results/completions/{task}/{split}/{sampler}/{model}/provenance.json",
    log:
        "logs/sample_student_answers/{task}/{split}/{sampler}/{model}.log",
    benchmark:
        "benchmarks/sample_student_answers/{task}/{split}/{sampler}/{model}.tsv"


# Answers of a model to the questions of a split: one greedy completion each, through the completion store.
use rule sample_teacher as predict with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest=answering_manifest,
    output:
        completions="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/predictions.jsonl",
        summary="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/predictions/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/predict/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.log",
    benchmark:
        "benchmarks/predict/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.tsv"
    priority: 0
    params:
        spec=predict_spec,
        sampler=lambda wildcards: wildcards.recipe,
        code=code("sample"),
        libraries=library_versions("sample"),
