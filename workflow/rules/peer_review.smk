# The questions that a student gets wrong: a committee explains them.
rule mistakes:
    input:
        questions="<questions>/train.jsonl",
        completions=ask(committee_inputs.student_completions),
        verdicts=ask(committee_inputs.student_verdicts),
    output:
        mistakes="<committee_folder>/mistakes.jsonl",
        summary="<committee_folder>/summary.json",
        provenance="<committee_folder>/provenance.json",
    log:
        "logs/mistakes/<mistakes_of_student>.log",
    wildcard_constraints:
        student=STUDENTS,
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("mistakes"),
        student_answers=ask(committee_inputs.mistake_settings),
    script:
        "../scripts/mistakes.py"


# The committee: feedback and rationales on a student's mistakes, and reviews of the rationales. One job for each model.
rule ask_teachers:
    input:
        mistakes="<committee_folder>/mistakes.jsonl",
        exemplars="<questions>/exemplars.jsonl",
        manifest=fill("<base_model>/manifest.json", model="{member}"),
    output:
        rationales="<member_folder>/rationales.jsonl",
        feedback="<member_folder>/feedback.jsonl",
        summary="<member_folder>/taught.json",
        provenance="<member_folder>/taught.provenance.json",
    log:
        "logs/ask_teachers/<mistakes_of_student>/{member}.log",
    benchmark:
        "benchmarks/ask_teachers/<mistakes_of_student>/{member}.tsv"
    priority: 10
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        **stage("ask_teachers"),
        teachers=ask(committee_inputs.teachers_of_member),
    script:
        "../scripts/ask_teachers.py"


rule peer_review:
    input:
        mistakes="<committee_folder>/mistakes.jsonl",
        rationales=ask(committee_inputs.all_rationales),
        verdicts=ask(committee_inputs.gate_verdicts),
        questions=ask(committee_inputs.reference_questions),
        manifest=fill("<base_model>/manifest.json", model="{member}"),
    output:
        reviews="<member_folder>/reviews.jsonl",
        replies="<member_folder>/replies.jsonl",
        summary="<member_folder>/reviewed.json",
        provenance="<member_folder>/reviewed.provenance.json",
    log:
        "logs/peer_review/<mistakes_of_student>/{member}.log",
    benchmark:
        "benchmarks/peer_review/<mistakes_of_student>/{member}.tsv"
    priority: 10
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        **stage("peer_review"),
        reviewers=ask(committee_inputs.reviewers_of_member),
        routing=ask(committee_inputs.routing),
        grader=ask(committee_inputs.review_grader),
        review=ask(committee_inputs.review_settings),
    script:
        "../scripts/peer_review.py"


# People: a sheet goes out, and comes back filled in.
rule review_sheet:
    input:
        mistakes="<committee_folder>/mistakes.jsonl",
        rationales=ask(committee_inputs.all_rationales),
        verdicts=ask(committee_inputs.gate_verdicts),
    output:
        sheet="<person_folder>/sheet.{form}",
        provenance="<person_folder>/sheet.{form}.provenance.json",
    log:
        "logs/review_sheet/<mistakes_of_student>/{person}.{form}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("review_sheet"),
        reviewer=wildcard("person"),
        routing=ask(committee_inputs.routing),
        grader=ask(committee_inputs.review_grader),
        hint=ask(committee_inputs.review_hint),
    script:
        "../scripts/review_sheet.py"


rule human_reviews:
    input:
        sheet=ask(committee_inputs.filled_sheet),
        rationales=ask(committee_inputs.all_rationales),
        verdicts=ask(committee_inputs.gate_verdicts),
    output:
        reviews="<person_folder>/reviews.jsonl",
        provenance="<person_folder>/reviews.provenance.json",
    log:
        "logs/human_reviews/<mistakes_of_student>/{person}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("human_reviews"),
        reviewer=wildcard("person"),
        routing=ask(committee_inputs.routing),
        grader=ask(committee_inputs.review_grader),
    script:
        "../scripts/human_reviews.py"


# A released exchange takes the place of student, teachers and reviewers.
rule import_release:
    input:
        questions="<questions>/train.jsonl",
        files=ask(committee_inputs.released_files),
    output:
        mistakes="<committee_folder>/mistakes.jsonl",
        rationales="<committee_folder>/members/released/rationales.jsonl",
        feedback="<committee_folder>/members/released/feedback.jsonl",
        reviews="<committee_folder>/members/released/reviews.jsonl",
        summary="<committee_folder>/summary.json",
        provenance="<committee_folder>/provenance.json",
    log:
        "logs/import_release/{task}/{committee}.log",
    pathvars:
        mistakes_of_student="{task}/{committee}/released",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("import_release"),
        task=wildcard("task"),
        released=ask(committee_inputs.released_settings),
    script:
        "../scripts/import_release.py"


rule audit:
    input:
        rationales=ask(for_recipe(committee_inputs.all_rationales)),
        reviews=ask(for_recipe(committee_inputs.all_reviews)),
        verdicts=ask(for_recipe(committee_inputs.answer_checks)),
        acceptances="<rows>/acceptances.jsonl",
    output:
        figures="<audit>/audit.json",
        markdown="<audit>/audit.md",
        html=report(
            "<audit>/audit.html",
            caption="../report/audit.rst",
            category="Peer review",
            labels={"what": "audit", "task": "{task}", "recipe": "{recipe}", "student": "{model}"},
        ),
        provenance="<audit>/provenance.json",
    log:
        "logs/audit/<cell>.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        **stage("audit"),
        accept=ask(committee_inputs.acceptance_rule),
        title=ask(committee_inputs.audit_title),
        note=ask(committee_inputs.committee_note),
    script:
        "../scripts/audit.py"
