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
