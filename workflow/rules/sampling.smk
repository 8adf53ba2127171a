# Completions of a split: of a teacher, which no recipe trains.
rule sample_teacher:
    input:
        questions="<questions>/{split}.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        manifest=ask(source_inputs.sampled_manifest),
    output:
        completions="<completions>/completions.jsonl",
        summary="<completions>/summary.json",
        provenance="<completions>/provenance.json",
    log:
        "logs/sample/<whose>.log",
    benchmark:
        "benchmarks/sample/<whose>.tsv"
    pathvars:
        whose="<sampled_teacher>",
    priority: 20
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        **stage("sample"),
        spec=ask(source_inputs.sampler_settings),
        sampler=wildcard("sampler"),
    script:
        "../scripts/sample.py"


# A mentor once it is trained. A trained student whose mistakes are taught is sampled and verified by the same rules.
use rule sample_teacher as sample_mentor with:
    pathvars:
        whose="<sampled_mentor>",


# The untrained student answers the train split: its mistakes are what a committee teaches.
use rule sample_teacher as sample_student_answers with:
    pathvars:
        whose="<sampled_base_model>",


# Answers of a model to the questions of a split: one greedy completion each, through the completion store.
use rule sample_teacher as sample_predictions with:
    input:
        questions="<questions>/{split}.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        manifest=ask(prediction_inputs.answering_manifest),
    output:
        completions="<predictions>/predictions.jsonl",
        summary="<predictions>/summary.json",
        provenance="<predictions>/provenance.json",
    log:
        "logs/sample_predictions/<cell_on_split>.log",
    benchmark:
        "benchmarks/sample_predictions/<cell_on_split>.tsv"
    priority: 0
    params:
        **stage("sample"),
        spec=ask(prediction_inputs.prediction_settings),
        sampler=wildcard("recipe"),
