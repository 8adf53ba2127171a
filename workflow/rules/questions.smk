# Questions of a task: train, dev and test, and the worked examples that prompts show.
rule questions:
    input:
        files=task_files,
    output:
        train="results/questions/{task}/train.jsonl",
        dev="results/questions/{task}/dev.jsonl",
        test="results/questions/{task}/test.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        summary="results/questions/{task}/summary.json",
        provenance="results/questions/{task}/provenance.json",
    log:
        "logs/questions/{task}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        spec=task_spec,
        code=code("questions"),
        libraries=library_versions("questions"),
    script:
        "../scripts/questions.py"
