# Accuracy with its interval, counts of failures, and every graded prediction.
rule score:
    input:
        questions="results/questions/{task}/{split}.jsonl",
        checked="results/questions/{task}/checked.json",
        predictions=final_predictions,
        rounds=refinement_rounds,
    output:
        graded="results/scores/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/graded.jsonl",
        scores="results/scores/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/scores.json",
        provenance="results/scores/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/score/{task}/{split}/{setup}/{recipe}/{model}/seed{seed}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        graders=grading,
        reading=lambda wildcards: reading(wildcards, student_prompt(wildcards)),
        code=code("score"),
        libraries=library_versions("score"),
    script:
        "../scripts/score.py"
