# Answers by step-by-step verification, for the recipes that have it: a beam search over the lines of programs.
rule search:
    input:
        questions="<questions>/{split}.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        manifest=ask(prediction_inputs.answering_manifest),
    output:
        completions="<predictions>/predictions.jsonl",
        summary="<predictions>/summary.json",
        provenance="<predictions>/provenance.json",
    log:
        "logs/search/<cell_on_split>.log",
    benchmark:
        "benchmarks/search/<cell_on_split>.tsv"
    wildcard_constraints:
        recipe=any_of(prediction_inputs.searching_recipes(workspace)),
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        **stage("search"),
        spec=ask(prediction_inputs.search_settings),
        sampler=wildcard("recipe"),
    script:
        "../scripts/search.py"


ruleorder: search > sample_predictions


# Predictions after self-refinement: programs that failed visibly went back to the student, with the error.
rule refine:
    input:
        questions="<questions>/{split}.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        predictions="<predictions>/predictions.jsonl",
        manifest=ask(prediction_inputs.answering_manifest),
    output:
        refined="<refined>/predictions.jsonl",
        rounds="<refined>/rounds.jsonl",
        summary="<refined>/summary.json",
        provenance="<refined>/provenance.json",
    log:
        "logs/refine/<cell_on_split>.log",
    benchmark:
        "benchmarks/refine/<cell_on_split>.tsv"
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        **stage("refine"),
        spec=ask(prediction_inputs.refinement_settings),
    script:
        "../scripts/refine.py"
