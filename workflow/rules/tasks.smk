# Questions of a task: train, dev and test, and the worked examples that prompts show.
rule questions:
    input:
        files=ask(source_inputs.task_files),
    output:
        train="<questions>/train.jsonl",
        dev="<questions>/dev.jsonl",
        test="<questions>/test.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        summary="<questions>/summary.json",
        provenance="<questions>/provenance.json",
    log:
        "logs/questions/{task}.log",
    priority: 50
    conda:
        "../../envs/training.yaml"  # reads data sets of the Hub
    params:
        **stage("questions"),
        spec=ask(source_inputs.task_settings),
    script:
        "../scripts/questions.py"


# Gold answers pass their own graders. Verification depends on it; its priority lets it run before anything is sampled.
rule check_task:
    input:
        splits=expand("<questions>/{split}.jsonl", split=["train", "dev", "test"]),
        test="<questions>/test.jsonl",
        exemplars="<questions>/exemplars.jsonl",
    output:
        checked="<questions>/checked.json",
        provenance="<questions>/checked.provenance.json",
    log:
        "logs/check_task/{task}.log",
    priority: 100
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("check_task"),
        spec=ask(source_inputs.checked_task_settings),
    script:
        "../scripts/check_task.py"
