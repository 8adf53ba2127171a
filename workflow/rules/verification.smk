# Verdicts on completions, by their final answer.
rule verify:
    input:
        questions="<questions>/{split}.jsonl",
        checked="<questions>/checked.json",
        completions="<completions>/completions.jsonl",
    output:
        verdicts="<verdicts>/verdicts.jsonl",
        summary="<verdicts>/summary.json",
        provenance="<verdicts>/provenance.json",
    log:
        "logs/verify/<whose>.log",
    pathvars:
        whose="<sampled_teacher>",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("verify"),
        graders=ask(source_inputs.graders),
        reading=ask(source_inputs.sampler_reading),
    script:
        "../scripts/verify.py"


use rule verify as verify_mentor with:
    pathvars:
        whose="<sampled_mentor>",


use rule verify as verify_student_answers with:
    pathvars:
        whose="<sampled_base_model>",


# Rationales of the committee, by their final answers.
rule verify_rationales:
    input:
        questions="<questions>/train.jsonl",
        checked="<questions>/checked.json",
        rationales=ask(committee_inputs.all_rationales),
    output:
        verdicts="<committee_folder>/verdicts.jsonl",
        summary="<committee_folder>/verdicts.json",
        provenance="<committee_folder>/verdicts.provenance.json",
    log:
        "logs/verify_rationales/<mistakes_of_student>.log",
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("verify_rationales"),
        graders=ask(source_inputs.graders),
        readings=ask(committee_inputs.rationale_readings),
    script:
        "../scripts/verify_rationales.py"
