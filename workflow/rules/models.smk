# A base model's folder: fetched, converted, or cut from its parent. Downstream jobs depend on the manifest.
rule base_model:
    input:
        parent=ask(source_inputs.parent_manifest),
        files=ask(source_inputs.local_model_files),
        questions=ask(source_inputs.influence_questions),
        exemplars=ask(source_inputs.influence_exemplars),
    output:
        folder=directory("<base_model>/model"),
        manifest="<base_model>/manifest.json",
        provenance="<base_model>/provenance.json",
    log:
        "logs/base_model/{model}.log",
    priority: 50
    conda:
        "../../envs/training.yaml"
    threads: ask(source_inputs.base_model_threads)
    resources:
        mem_mb=8_000,
        runtime=120,
    params:
        **stage("base_model"),
        spec=ask(source_inputs.model_settings),
        prompt=ask(source_inputs.influence_prompt),
        name=wildcard("model"),
    script:
        "../scripts/base_model.py"


# A mentor's soft labels need the student's own vocabulary. Its priority lets this run before anything is sampled.
rule check_vocabulary:
    input:
        mentor=fill("<base_model>/manifest.json", model="{mentor}"),
        student="<base_model>/manifest.json",
    output:
        same="<base_model>/taught_by_{mentor}.json",
        provenance="<base_model>/taught_by_{mentor}.provenance.json",
    log:
        "logs/check_vocabulary/{model}/{mentor}.log",
    priority: 100
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("check_vocabulary"),
    script:
        "../scripts/check_vocabulary.py"


# Tokenizers of prose lose newlines and indentation: such a student is refused before a teacher writes programs for it.
rule check_tokenizer:
    input:
        student="<base_model>/manifest.json",
    output:
        kept="<base_model>/writes_programs.json",
        provenance="<base_model>/writes_programs.provenance.json",
    log:
        "logs/check_tokenizer/{model}.log",
    priority: 100
    conda:
        "../../envs/training.yaml"
    params:
        **stage("check_tokenizer"),
    script:
        "../scripts/check_tokenizer.py"
