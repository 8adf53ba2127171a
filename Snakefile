# Distil the reasoning of large language models into small ones. Start with README.md; `make demo` runs all of it.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"  # config/config.yaml, and how rules ask the library: stays first


pathvars:
    **PATHS,


localrules:
    all,
    questions,
    check_task,
    check_vocabulary,
    verify,
    verify_mentor,
    mistakes,
    verify_student_answers,
    verify_rationales,
    review_sheet,
    human_reviews,
    import_release,
    compose,
    compose_pairs,
    audit,
    score,
    tables,
    output_space,


include: "workflow/rules/tasks.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/verification.smk"
include: "workflow/rules/peer_review.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/programs.smk"
include: "workflow/rules/evaluation.smk"


# After the rules: Snakemake 9.27 constrains the wildcards of a pathvar only in rules that it knows already.
wildcard_constraints:
    task=any_of(workspace.tasks),
    split="train|dev|test",
    model=MODELS,
    mentor=MODELS,
    sampler=any_of(workspace.samplers),
    setup=SETUPS,
    recipe=RECIPES,
    experiment=any_of(workspace.experiments),
    committee=any_of(workspace.committees),
    student=f"{committee_inputs.RELEASED}|{STUDENTS}",
    member=MODELS,
    person=PEOPLE,
    form="csv|jsonl",
    seed=r"\d+",


onstart:
    hold_folder()


rule all:
    default_target: True
    input:
        table_cells.table_files(workspace.settings.experiments),
        table_cells.audits(workspace, workspace.settings.experiments),
