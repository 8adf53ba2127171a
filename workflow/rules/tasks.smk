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
    priority: 50
    conda:
        "../../envs/analysis.yaml"
    params:
        spec=task_spec,
        code=code("questions"),
        libraries=library_versions("questions"),
    script:
        "../scripts/questions.py"


# Gold answers pass their own graders. Verification depends on it; its priority lets it run before anything is sampled.
rule check_task:
    input:
        splits=expand("results/questions/{{task}}/{split}.jsonl", split=["train", "dev", "test"]),
        test="results/questions/{task}/test.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
    output:
        checked="results/questions/{task}/checked.json",
        provenance="results/questions/{task}/checked.provenance.json",
    log:
        "logs/check_task/{task}.log",
    priority: 100
    conda:
        "../../envs/analysis.yaml"
    params:
        spec=lambda wildcards: plain(workspace.tasks[wildcards.task], without={"title", "licence", "changes"}),
        code=code("check_task"),
        libraries=library_versions("check_task"),
    script:
        "../scripts/check_task.py"
