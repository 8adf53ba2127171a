# Distil the reasoning of large language models into small ones. Start with README.md; `make demo` runs all of it.
from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"  # the settings and input functions: stays first
include: "workflow/rules/committee_files.smk"


wildcard_constraints:
    task=any_of(workspace.tasks),
    split="train|dev|test",
    model=any_of(workspace.models),
    mentor=any_of(workspace.models),
    sampler=any_of(workspace.samplers),
    setup=any_of(workspace.setups),
    recipe=any_of(workspace.recipe_names()),
    experiment=any_of(workspace.experiments),
    committee=any_of(workspace.committees),
    student=f"{RELEASED}|{STUDENTS}",
    member=any_of(workspace.models),
    person=any_of(name for one in workspace.committees.values() for name in one.people),
    form="csv|jsonl",
    seed=r"\d+",


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


onstart:
    hold_folder()


rule all:
    default_target: True
    input:
        every_table,
        audits(workspace.settings.experiments),
