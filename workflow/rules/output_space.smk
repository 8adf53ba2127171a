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
