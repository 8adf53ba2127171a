# Accuracy with its interval, counts of failures, and every graded prediction.
rule score:
    input:
        questions="<questions>/{split}.jsonl",
        checked="<questions>/checked.json",
        predictions=ask(prediction_inputs.final_predictions),
        rounds=ask(prediction_inputs.refinement_rounds),
    output:
        graded="<scores>/graded.jsonl",
        scores="<scores>/scores.json",
        provenance="<scores>/provenance.json",
    log:
        "logs/score/<cell_on_split>.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("score"),
        graders=ask(source_inputs.graders),
        reading=ask(prediction_inputs.student_reading),
    script:
        "../scripts/score.py"


# The table of an experiment, and its figure. Any name is accepted here, so that an unknown one gets an answer.
rule tables:
    input:
        scores=ask(table_cells.cell_scores),
        graded=ask(table_cells.cell_predictions),
        costs=ask(table_cells.cell_costs),
        questions=ask(table_cells.cell_questions),
    output:
        markdown="<table>/table.md",
        csv="<table>/table.csv",
        parquet="<table>/table.parquet",
        html=report(
            "<table>/table.html",
            caption="../report/table.rst",
            category="{experiment}",
            labels={"what": "table, with samples"},
        ),
        svg=report(
            "<table>/figure.svg",
            caption="../report/figure.rst",
            category="{experiment}",
            labels={"what": "figure"},
        ),
        png="<table>/figure.png",
        provenance="<table>/provenance.json",
    log:
        "logs/tables/{experiment}.log",
    wildcard_constraints:
        experiment="[^/]+",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("tables"),
        experiment=ask(table_cells.experiment_settings),
        cells=ask(table_cells.table_cells),
    script:
        "../scripts/tables.py"


# How the outputs of an experiment's arms differ. On demand: snakemake results/output_space/miniature/study.md
rule output_space:
    input:
        scores=ask(table_cells.cell_scores),
        graded=ask(table_cells.cell_predictions),
        costs=ask(table_cells.cell_costs),
        rounds=ask(table_cells.refined_rounds),
    output:
        markdown="<output_space>/study.md",
        csv="<output_space>/study.csv",
        svg=report(
            "<output_space>/figure.svg",
            caption="../report/output_space.rst",
            category="{experiment}",
            labels={"what": "output space"},
        ),
        png="<output_space>/figure.png",
        provenance="<output_space>/provenance.json",
    log:
        "logs/output_space/{experiment}.log",
    wildcard_constraints:
        experiment="[^/]+",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("output_space"),
        experiment=ask(table_cells.experiment_settings),
        cells=ask(table_cells.table_cells),
        refined=ask(table_cells.refined_cells),
    script:
        "../scripts/output_space.py"


# A target for each declared table, with its audits: snakemake table_miniature
for experiment in sorted(workspace.experiments):

    rule:
        name:
            f"table_{experiment}"
        input:
            table_cells.table_files([experiment]),
            table_cells.audits(workspace, [experiment]),
        localrule: True


# A table of any other name is refused, with the names that are declared.
rule unknown_table:
    input:
        ask(table_cells.unknown_table),
    output:
        touch("table_{unknown}"),
    wildcard_constraints:
        unknown="[^/]+",
    localrule: True
