# The exam: the untrained student answers the train split. One that was trained is sampled and verified like a mentor.
use rule sample_teacher as sample_exam with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest="results/base_models/{model}/manifest.json",
    output:
        completions="results/completions/{task}/{split}/{sampler}/{model}/completions.jsonl",
        summary="results/completions/{task}/{split}/{sampler}/{model}/summary.json",
        provenance="results/completions/{task}/{split}/{sampler}/{model}/provenance.json",
    log:
        "logs/sample_exam/{task}/{split}/{sampler}/{model}.log",
    benchmark:
        "benchmarks/sample_exam/{task}/{split}/{sampler}/{model}.tsv"


use rule verify as verify_exam with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        checked="results/questions/{task}/checked.json",
        completions="results/completions/{task}/{split}/{sampler}/{model}/completions.jsonl",
    output:
        verdicts="results/verdicts/{task}/{split}/{sampler}/{model}/verdicts.jsonl",
        summary="results/verdicts/{task}/{split}/{sampler}/{model}/summary.json",
        provenance="results/verdicts/{task}/{split}/{sampler}/{model}/provenance.json",
    log:
        "logs/verify_exam/{task}/{split}/{sampler}/{model}.log",


rule mistakes:
    input:
        questions="results/questions/{task}/train.jsonl",
        completions=lambda wildcards: f"results/completions/{exam_of(wildcards)}/completions.jsonl",
        verdicts=lambda wildcards: f"results/verdicts/{exam_of(wildcards)}/verdicts.jsonl",
    output:
        mistakes="results/committees/{task}/{committee}/{sitter}/mistakes.jsonl",
        summary="results/committees/{task}/{committee}/{sitter}/summary.json",
        provenance="results/committees/{task}/{committee}/{sitter}/provenance.json",
    log:
        "logs/mistakes/{task}/{committee}/{sitter}.log",
    wildcard_constraints:
        sitter=SITTERS,
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        exam=lambda wildcards: plain(committee(wildcards).exam, without={"sampler", "student"}),
        code=code("mistakes"),
        libraries=library_versions("mistakes"),
    script:
        "../scripts/mistakes.py"
