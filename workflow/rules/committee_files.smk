# Which files and parameters the rules of mistakes, committee and peer review have. See config/committees.
from types import SimpleNamespace

from distillery.config.committee_checks import routing_of

RELEASED = "released"
STUDENTS = "(?:{models})|(?:{setups})/(?:{recipes})/(?:{models})/seed[0-9]+".format(
    models=any_of(workspace.models), setups=any_of(workspace.setups), recipes=any_of(workspace.recipe_names())
)


def committee(wildcards):
    return workspace.committees[wildcards.committee]


def student_answers_of(wildcards):
    """Completions or verdicts of the exam: of the untrained student, or of one that was trained."""
    return f"{wildcards.task}/train/{committee(wildcards).student_answers.sampler}/{wildcards.student}"


def committee_folder(wildcards):
    return f"results/committees/{wildcards.task}/{wildcards.committee}/{wildcards.student}"


def taught(kind, wildcards):
    """Rationales or feedback of all teachers: one file for each model that is asked."""
    members = committee(wildcards).teachers.values()
    asked = sorted({one.model for one in members}) or [RELEASED]
    return [f"{committee_folder(wildcards)}/members/{one}/{kind}.jsonl" for one in asked]


def all_rationales(wildcards):
    return taught("rationales", wildcards)


def all_reviews(wildcards):
    """Reviews of all models and people that have a say."""
    who = committee(wildcards)
    models = sorted({who.model_of_reviewer(name) for name in who.panel}) or [RELEASED]
    people = sorted(name for name, one in who.people.items() if one.sheet is not None)
    folder = committee_folder(wildcards)
    return [
        *(f"{folder}/members/{one}/reviews.jsonl" for one in models),
        *(f"{folder}/people/{one}/reviews.jsonl" for one in people),
    ]


def prompt_section(name):
    return plain(workspace.prompts[name])


def teachers_asked(wildcards):
    """Teachers that have one model: what each is asked for rationales and feedback."""
    return {
        name: {
            "rationale": {"prompt": prompt_section(one.rationale), "decoding": plain(one.decoding)},
            "feedback": {
                "prompt": prompt_section(one.feedback),
                "decoding": plain(one.feedback_decoding or one.decoding),
            },
        }
        for name, one in sorted(committee(wildcards).teachers.items())
        if one.model == wildcards.member
    }


def reviewers_asked(wildcards):
    """Reviewers that have one model, and their prompts."""
    who = committee(wildcards)
    return {
        name: prompt_section(who.prompt_of_reviewer(name))
        for name in sorted(who.panel)
        if who.model_of_reviewer(name) == wildcards.member
    }


def routing(wildcards):
    """Teacher -> those who review it; on a person's sheet also that person."""
    found = routing_of(committee(wildcards), also=getattr(wildcards, "person", None))
    return {author: list(reviewers) for author, reviewers in found.items()}


def reference_questions(wildcards):
    """Reference solutions, where reviewers are shown them."""
    shown = committee(wildcards).review.hint == "reference"
    return f"results/questions/{wildcards.task}/train.jsonl" if shown else []


def gate_verdicts(wildcards):
    """Answer checks of the rationales, where only those with a right answer are reviewed."""
    return f"{committee_folder(wildcards)}/verdicts.jsonl" if committee(wildcards).review.gate == "right" else []


def readings(wildcards):
    """Teacher -> how its rationales are read; released texts have nothing before their answers."""
    who = committee(wildcards)
    released = {"form": "text", "delimiter": None, "answer": workspace.tasks[wildcards.task].answer}
    return {
        name: reading(wildcards, workspace.prompts[who.teachers[name].rationale]) if who.teachers else released
        for name in who.names
    }


def filled_sheet(wildcards):
    sheet = committee(wildcards).people[wildcards.person].sheet
    if sheet is None:
        raise WorkflowError(f"No filled sheet of {wildcards.person} is named: config/committees, people.")
    return sheet.replace("{task}", wildcards.task).replace("{student}", "-".join(Path(wildcards.student).parts))


def released_files(wildcards):
    """The three files of a released exchange."""
    released = committee(wildcards).released
    return [f"{released.folder}/{released.stem}_{kind}_round0.json" for kind in ("false", "feedback", "rationale")]


def committee_wildcards(wildcards):
    """Wildcards of the committee's files that the pairs of a recipe are made from."""
    who = workspace.committee_of(wildcards.recipe, wildcards.setup)
    student = workspace.committee_student(wildcards.recipe, wildcards.setup, wildcards.model, int(wildcards.seed))
    return SimpleNamespace(task=wildcards.task, committee=who.committee, student=student)


def committee_input(find):
    """An input function of the committee's files, for a rule about a recipe."""
    return lambda wildcards: find(committee_wildcards(wildcards))


def reviews_used(wildcards):
    """The reviews, where they have a say."""
    pairs = recipe_of(wildcards).pairs
    like = workspace.recipe(pairs.size_of, wildcards.setup).pairs if pairs.size_of else None
    return all_reviews(committee_wildcards(wildcards)) if pairs.reviewed or (like is not None and like.reviewed) else []


def pairs_section(wildcards):
    """The pairs section of a recipe without what only says whose exam it is."""
    pairs = recipe_of(wildcards).pairs
    teachers = workspace.committee_of(wildcards.recipe, wildcards.setup).names
    section = plain(pairs, without={"after", "continues", "round", "size_of", "feedback_prompt"})
    return {**section, "teacher": (pairs.teacher or teachers[0]) if pairs.mode == "single" else None}


def size_matched_rule(wildcards):
    """The acceptance rule of the recipe that a random drop is as strict as."""
    like = recipe_of(wildcards).pairs.size_of
    return plain(workspace.recipe(like, wildcards.setup).pairs.accept) if like else None


def training_base(wildcards):
    """What training starts from: the base model, or the student that sat the exam."""
    pairs = recipe_of(wildcards).pairs
    if pairs is not None and pairs.after is not None and pairs.continues:
        return trained_manifest(**{**wildcards_of(wildcards), "recipe": pairs.after})
    return base_manifest(wildcards.model)


def committee_note(recipe, setup):
    """What a table says about the committee of a reviewed recipe."""
    pairs = workspace.recipe(recipe, setup).pairs
    return workspace.committee_of(recipe, setup).note if pairs is not None and pairs.reviewed else None


def pair_recipes():
    """Every variant whose rows are pairs."""
    return sorted({name for known in workspace.variants.values() for name, one in known.items() if one.pairs})


def audits(experiments):
    """Audit pages of the experiments: one for each exam that was reviewed, by the first recipe that heeds it."""
    found = {}
    for name in experiments:
        setup = workspace.experiments[name].setup
        for cell in workspace.cells(name):
            pairs = workspace.recipe(cell.recipe, setup).pairs
            if pairs is not None and pairs.reviewed:
                sat = workspace.committee_student(cell.recipe, setup, cell.model, cell.seed)
                who = f"{cell.task}/{setup}/{cell.recipe}/{cell.model}/seed{cell.seed}"
                found.setdefault((cell.task, setup, sat), f"results/audits/{who}/audit.html")
    return list(found.values())
