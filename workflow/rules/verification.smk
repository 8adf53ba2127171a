# Verdicts on completions, by their final answer.
rule verify:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        checked="results/questions/{task}/checked.json",
        completions="results/completions/{task}/{split}/{sampler}/completions.jsonl",
    output:
        verdicts="results/verdicts/{task}/{split}/{sampler}/verdicts.jsonl",
        summary="results/verdicts/{task}/{split}/{sampler}/summary.json",
        provenance="results/verdicts/{task}/{split}/{sampler}/provenance.json",
    log:
        "logs/verify/{task}/{split}/{sampler}.log",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        graders=grading,
        reading=lambda wildcards: reading(wildcards, prompt_of(wildcards.sampler)),
        code=code("verify"),
        libraries=library_versions("verify"),
    script:
        "../scripts/verify.py"


use rule verify as verify_mentor with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        checked="results/questions/{task}/checked.json",
        completions="results/completions/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/completions.jsonl",
    output:
        verdicts="results/verdicts/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/verdicts.jsonl",
        summary="results/verdicts/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/verdicts/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/verify/{task}/{split}/{sampler}/{setup}/{recipe}/{model}/seed{seed}.log",


use rule verify as verify_student_answers with:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        checked="results/questions/{task}/checked.json",
        completions="results/completions/{task}/{split}/{sampler}/{model}/completions.jsonl",
    output:
        verdicts="results/verdicts/{task}/{split}/{sampler}/{model}/verdicts.jsonl",
        summary="results/verdicts/{task}/{split}/{sampler}/{model}/summary.json",
        provenance="results/verdicts/{task}/{split}/{sampler}/{model}/provenance.json",
    log:
        "logs/verify_student_answers/{task}/{split}/{sampler}/{model}.log",


# Rationales of the committee, by their final answers.
rule verify_rationales:
    input:
        questions="results/questions/{task}/train.jsonl",
        checked="results/questions/{task}/checked.json",
        rationales=all_rationales,
    output:
        verdicts="results/committees/{task}/{committee}/{student}/verdicts.jsonl",
        summary="results/committees/{task}/{committee}/{student}/verdicts.json",
        provenance="results/committees/{task}/{committee}/{student}/verdicts.provenance.json",
    log:
        "logs/verify_rationales/{task}/{committee}/{student}.log",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        graders=grading,
        readings=readings,
        code=code("verify_rationales"),
        libraries=library_versions("verify_rationales"),
    script:
        "../scripts/verify_rationales.py"
