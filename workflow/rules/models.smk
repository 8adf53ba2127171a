# A base model's folder: fetched, converted, or cut from its parent. Downstream jobs depend on the manifest.
rule base_model:
    input:
        parent=parent_manifest,
        files=local_model_files,
    output:
        folder=directory("results/base_models/{model}/model"),
        manifest="results/base_models/{model}/manifest.json",
        provenance="results/base_models/{model}/provenance.json",
    log:
        "logs/base_model/{model}.log",
    priority: 50
    conda:
        "../../envs/training.yaml"
    resources:
        mem_mb=8_000,
        runtime=120,
    params:
        spec=lambda wildcards: plain(workspace.models[wildcards.model], without={"licence", "price"}),
        name=lambda wildcards: wildcards.model,
        code=code("base_model"),
        libraries=library_versions("base_model"),
    script:
        "../scripts/base_model.py"


# A mentor's soft labels need the student's own vocabulary. Its priority lets this run before anything is sampled.
rule check_vocabulary:
    input:
        mentor="results/base_models/{mentor}/manifest.json",
        student="results/base_models/{model}/manifest.json",
    output:
        same="results/base_models/{model}/taught_by_{mentor}.json",
        provenance="results/base_models/{model}/taught_by_{mentor}.provenance.json",
    log:
        "logs/check_vocabulary/{model}/{mentor}.log",
    priority: 100
    conda:
        "../../envs/analysis.yaml"
    params:
        code=code("check_vocabulary"),
        libraries=library_versions("check_vocabulary"),
    script:
        "../scripts/check_vocabulary.py"


# Tokenizers of prose lose newlines and indentation: such a student is refused before a teacher writes programs for it.
rule check_tokenizer:
    input:
        student="results/base_models/{model}/manifest.json",
    output:
        kept="results/base_models/{model}/writes_programs.json",
        provenance="results/base_models/{model}/writes_programs.provenance.json",
    log:
        "logs/check_tokenizer/{model}.log",
    priority: 100
    conda:
        "../../envs/training.yaml"
    params:
        code=code("check_tokenizer"),
        libraries=library_versions("check_tokenizer"),
    script:
        "../scripts/check_tokenizer.py"
