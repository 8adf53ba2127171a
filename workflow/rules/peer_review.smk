rule mistakes:
    input:
        questions="results/questions/{task}/train.jsonl",
        completions=lambda wildcards: f"results/completions/{student_answers_of(wildcards)}/completions.jsonl",
        verdicts=lambda wildcards: f"results/verdicts/{student_answers_of(wildcards)}/verdicts.jsonl",
    output:
        mistakes="results/committees/{task}/{committee}/{student}/mistakes.jsonl",
        summary="results/committees/{task}/{committee}/{student}/summary.json",
        provenance="results/committees/{task}/{committee}/{student}/provenance.json",
    log:
        "logs/mistakes/{task}/{committee}/{student}.log",
    wildcard_constraints:
        student=STUDENTS,
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        student_answers=lambda wildcards: plain(committee(wildcards).student_answers, without={"sampler", "student"}),
        code=code("mistakes"),
        libraries=library_versions("mistakes"),
    script:
        "../scripts/mistakes.py"


# The committee: feedback and rationales on a student's mistakes, and reviews of the rationales. One job for each model.
rule ask_teachers:
    input:
        mistakes="results/committees/{task}/{committee}/{student}/mistakes.jsonl",
        exemplars="results/questions/{task}/exemplars.jsonl",
        manifest="results/base_models/{member}/manifest.json",
    output:
        rationales="results/committees/{task}/{committee}/{student}/members/{member}/rationales.jsonl",
        feedback="results/committees/{task}/{committee}/{student}/members/{member}/feedback.jsonl",
        summary="results/committees/{task}/{committee}/{student}/members/{member}/taught.json",
        provenance="results/committees/{task}/{committee}/{student}/members/{member}/taught.provenance.json",
    log:
        "logs/ask_teachers/{task}/{committee}/{student}/{member}.log",
    benchmark:
        "benchmarks/ask_teachers/{task}/{committee}/{student}/{member}.tsv"
    priority: 10
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        teachers=teachers_asked,
        code=code("ask_teachers"),
        libraries=library_versions("ask_teachers"),
    script:
        "../scripts/ask_teachers.py"


rule peer_review:
    input:
        mistakes="results/committees/{task}/{committee}/{student}/mistakes.jsonl",
        rationales=all_rationales,
        verdicts=gate_verdicts,
        questions=reference_questions,
        manifest="results/base_models/{member}/manifest.json",
    output:
        reviews="results/committees/{task}/{committee}/{student}/members/{member}/reviews.jsonl",
        replies="results/committees/{task}/{committee}/{student}/members/{member}/replies.jsonl",
        summary="results/committees/{task}/{committee}/{student}/members/{member}/reviewed.json",
        provenance="results/committees/{task}/{committee}/{student}/members/{member}/reviewed.provenance.json",
    log:
        "logs/peer_review/{task}/{committee}/{student}/{member}.log",
    benchmark:
        "benchmarks/peer_review/{task}/{committee}/{student}/{member}.tsv"
    priority: 10
    conda:
        "../../envs/inference.yaml"
    threads: 8
    resources:
        gpu=1,
        mem_mb=16_000,
        runtime=720,
    params:
        reviewers=reviewers_asked,
        routing=routing,
        grader=lambda wildcards: committee(wildcards).review.grader,
        review=lambda wildcards: plain(committee(wildcards).review, without={"prompt", "at_least", "gate", "grader"}),
        code=code("peer_review"),
        libraries=library_versions("peer_review"),
    script:
        "../scripts/peer_review.py"


# People: a sheet goes out, and comes back filled in.
rule review_sheet:
    input:
        mistakes="results/committees/{task}/{committee}/{student}/mistakes.jsonl",
        rationales=all_rationales,
        verdicts=gate_verdicts,
    output:
        sheet="results/committees/{task}/{committee}/{student}/people/{person}/sheet.{form}",
        provenance="results/committees/{task}/{committee}/{student}/people/{person}/sheet.{form}.provenance.json",
    log:
        "logs/review_sheet/{task}/{committee}/{student}/{person}.{form}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        reviewer=lambda wildcards: wildcards.person,
        routing=routing,
        grader=lambda wildcards: committee(wildcards).review.grader,
        hint=lambda wildcards: committee(wildcards).review.hint,
        code=code("review_sheet"),
        libraries=library_versions("review_sheet"),
    script:
        "../scripts/review_sheet.py"


rule human_reviews:
    input:
        sheet=filled_sheet,
        rationales=all_rationales,
        verdicts=gate_verdicts,
    output:
        reviews="results/committees/{task}/{committee}/{student}/people/{person}/reviews.jsonl",
        provenance="results/committees/{task}/{committee}/{student}/people/{person}/reviews.provenance.json",
    log:
        "logs/human_reviews/{task}/{committee}/{student}/{person}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        reviewer=lambda wildcards: wildcards.person,
        routing=routing,
        grader=lambda wildcards: committee(wildcards).review.grader,
        code=code("human_reviews"),
        libraries=library_versions("human_reviews"),
    script:
        "../scripts/human_reviews.py"


# A released exchange takes the place of exam, teachers and reviewers.
rule import_release:
    input:
        questions="results/questions/{task}/train.jsonl",
        files=released_files,
    output:
        mistakes="results/committees/{task}/{committee}/released/mistakes.jsonl",
        rationales="results/committees/{task}/{committee}/released/members/released/rationales.jsonl",
        feedback="results/committees/{task}/{committee}/released/members/released/feedback.jsonl",
        reviews="results/committees/{task}/{committee}/released/members/released/reviews.jsonl",
        summary="results/committees/{task}/{committee}/released/summary.json",
        provenance="results/committees/{task}/{committee}/released/provenance.json",
    log:
        "logs/import_release/{task}/{committee}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        task=lambda wildcards: wildcards.task,
        released=lambda wildcards: plain(committee(wildcards).released, without={"teachers"}),
        code=code("import_release"),
        libraries=library_versions("import_release"),
    script:
        "../scripts/import_release.py"


rule audit:
    input:
        rationales=committee_input(all_rationales),
        reviews=committee_input(all_reviews),
        verdicts=committee_input(lambda where: f"{committee_folder(where)}/verdicts.jsonl"),
        acceptances="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/acceptances.jsonl",
    output:
        figures="results/audits/{task}/{setup}/{recipe}/{model}/seed{seed}/audit.json",
        markdown="results/audits/{task}/{setup}/{recipe}/{model}/seed{seed}/audit.md",
        html=report(
            "results/audits/{task}/{setup}/{recipe}/{model}/seed{seed}/audit.html",
            caption="../report/audit.rst",
            category="Peer review",
            labels={"what": "audit", "task": "{task}", "recipe": "{recipe}", "student": "{model}"},
        ),
        provenance="results/audits/{task}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/audit/{task}/{setup}/{recipe}/{model}/seed{seed}.log",
    conda:
        "../../envs/analysis.yaml"
    params:
        accept=lambda wildcards: plain(recipe_of(wildcards).pairs.accept),
        title=lambda wildcards: f"Peer review of {wildcards.recipe} on {wildcards.task}",
        note=lambda wildcards: committee_note(wildcards.recipe, wildcards.setup),
        code=code("audit"),
        libraries=library_versions("audit"),
    script:
        "../scripts/audit.py"
