# The table of an experiment, and its figure.
rule tables:
    input:
        scores=lambda wildcards: [cell["scores"] for cell in table_cells(wildcards)],
        graded=lambda wildcards: [cell["predictions"] for cell in table_cells(wildcards)],
        costs=lambda wildcards: sorted({path for cell in table_cells(wildcards) for path in cell["costs"]}),
    output:
        markdown="results/tables/{experiment}/table.md",
        csv="results/tables/{experiment}/table.csv",
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
