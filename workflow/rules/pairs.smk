# Training pairs of a recipe, by a pure decision about stored reviews; and the audit of these reviews.
rule compose_pairs:
    input:
        mistakes=of_lesson(lambda where: f"{committee_folder(where)}/mistakes.jsonl"),
        exemplars="results/questions/{task}/exemplars.jsonl",
        rationales=of_lesson(all_rationales),
        feedback=of_lesson(lambda where: taught("feedback", where)),
        reviews=reviews_heeded,
        verdicts=of_lesson(lambda where: f"{committee_folder(where)}/verdicts.jsonl"),
    output:
        rows="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/rows.jsonl",
        acceptances="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/acceptances.jsonl",
        summary="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/summary.json",
        provenance="results/rows/{task}/{setup}/{recipe}/{model}/seed{seed}/provenance.json",
    log:
        "logs/compose_pairs/{task}/{setup}/{recipe}/{model}/seed{seed}.log",
    wildcard_constraints:
        recipe=any_of(pair_recipes()),
    priority: 30
    conda:
        "../../envs/analysis.yaml"
    params:
        pairs=pairs_section,
        like=size_matched_rule,
        prompt=lambda wildcards: plain(student_prompt(wildcards)),
        feedback_prompt=lambda wildcards: prompt_section(recipe_of(wildcards).pairs.feedback_prompt),
        seed=lambda wildcards: int(wildcards.seed),
        code=code("compose_pairs"),
        libraries=library_versions("compose_pairs"),
    script:
        "../scripts/compose_pairs.py"


ruleorder: compose_pairs > compose


rule audit:
    input:
        rationales=of_lesson(all_rationales),
        reviews=of_lesson(all_reviews),
        verdicts=of_lesson(lambda where: f"{committee_folder(where)}/verdicts.jsonl"),
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
