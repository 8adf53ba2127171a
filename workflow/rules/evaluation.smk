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


# The table of an experiment, and its figure.
rule tables:
    input:
        scores=lambda wildcards: [cell["scores"] for cell in table_cells(wildcards)],
        graded=lambda wildcards: [cell["predictions"] for cell in table_cells(wildcards)],
        costs=lambda wildcards: sorted({path for cell in table_cells(wildcards) for path in cell["costs"]}),
    output:
        markdown="results/tables/{experiment}/table.md",
        csv="results/tables/{experiment}/table.csv",
        parquet="results/tables/{experiment}/table.parquet",
        html=report(
            "results/tables/{experiment}/table.html",
            caption="../report/table.rst",
            category="{experiment}",
            labels={"what": "table, with samples"},
        ),
        svg=report(
            "results/tables/{experiment}/figure.svg",
            caption="../report/figure.rst",
            category="{experiment}",
            labels={"what": "figure"},
        ),
        png="results/tables/{experiment}/figure.png",
        provenance="results/tables/{experiment}/provenance.json",
    log:
        "logs/tables/{experiment}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        experiment=lambda wildcards: plain(workspace.experiments[wildcards.experiment]),
        cells=table_cells,
        code=code("tables"),
        libraries=library_versions("tables"),
    script:
        "../scripts/tables.py"


# How the outputs of an experiment's arms differ. On demand: snakemake results/output_space/miniature/study.md
rule output_space:
    input:
        scores=lambda wildcards: [cell["scores"] for cell in table_cells(wildcards)],
        graded=lambda wildcards: [cell["predictions"] for cell in table_cells(wildcards)],
        costs=lambda wildcards: sorted({path for cell in table_cells(wildcards) for path in cell["costs"]}),
        rounds=lambda wildcards: sorted(refined_cells(wildcards).values()),
    output:
        markdown="results/output_space/{experiment}/study.md",
        csv="results/output_space/{experiment}/study.csv",
        svg=report(
            "results/output_space/{experiment}/figure.svg",
            caption="../report/output_space.rst",
            category="{experiment}",
            labels={"what": "output space"},
        ),
        png="results/output_space/{experiment}/figure.png",
        provenance="results/output_space/{experiment}/provenance.json",
    log:
        "logs/output_space/{experiment}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        experiment=lambda wildcards: plain(workspace.experiments[wildcards.experiment]),
        cells=table_cells,
        refined=refined_cells,
        code=code("output_space"),
        libraries=library_versions("output_space"),
    script:
        "../scripts/output_space.py"
