"""`config/recipes/*.yaml`: a method, as rows, objective, training and prediction over the shared stages."""

from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny, ValidationInfo, model_validator

from distillery.config.base import Name, Section, TaughtPart, VariantName
from distillery.config.extensions import Known, KnownObjective, Objective, Registry
from distillery.config.review import Pairs

ErrorClass = Literal["name_error", "unbound_local_error", "syntax_error", "operand_swap"]
"""Source: PaD specification, section 3.2; real syntax errors and operand swaps are ours."""


class Rows(Section):
    """One source of training rows.

    `from: teacher`, `from: mentor` and `from: programs` (the teacher that writes programs) take completions of the
    sampler that the setup names; `from: gold` takes the questions themselves. The first `degree` completions of each
    question are read, then filtered, then capped.
    """

    source: Annotated[str, Known("row_sources")] = Field(alias="from")
    keep: Literal["correct", "all"] = Field("correct", description="Verified completions only, or all.")
    grader: Name = Field("robust", description="Whose verdict counts as correct.")
    truncated: Literal["drop", "keep"] = Field(
        "drop", description="Rationales cut off at the token limit; the papers keep them where the answer is right."
    )
    degree: int | None = Field(None, ge=1, description="Completions read per question; none: all that are sampled.")
    per_question: int | None = Field(None, ge=1, description="At most this many kept rows per question.")
    share: float = Field(1.0, gt=0, le=1, description="Share of the questions used, chosen by seed.")
    taught: TaughtPart = Field(
        "reasoning",
        description="Of a reasoning model's text: its thinking (its rationale, if it has none), the rationale in its "
        "answer, or both.",
    )
    unique: bool = Field(False, description="Equal rationales of a question are kept once; programs by syntax tree.")
    inject: list[ErrorClass] = Field(
        [], description="Rows that teach repair: each kept program, with an error of one of these classes put in."
    )
    injection: Literal["repaired", "paper"] = Field(
        "repaired", description="`paper`: the released code's errors, with its empty feedback, unchecked."
    )
    injections: int = Field(1, ge=1, description="Wrong versions of each program, of different classes.")


class Mentor(Section):
    """The mid-size model between teacher and student: how it is trained, and how it is sampled."""

    trained_by: Name = Field(description="Recipe that trains it on its base model.")
    model: Name | Literal["setup", "student"] = Field(
        "setup", description="Base model: the setup's mentor, or the student's own."
    )
    sampler: Name | None = Field(
        None, description="Sampler with `model: trained`, for augmentation; none: no augmentation."
    )


class Lora(Section):
    """Low-rank adaptation instead of full fine-tuning."""

    rank: int = Field(64, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"


class Train(Section):
    """How weights are fitted. The batch size is the global one; the machine decides how devices share it."""

    epochs: int = Field(20, ge=1, description="Passes over the rows, unless `updates` is given.")
    updates: int | None = Field(
        None, ge=1, description="Updates to make instead of `epochs`; rows repeat. For arms on equal terms."
    )
    batch_size: int = Field(8, ge=1, description="Rows of an update; of an objective on pairs, its pairs.")
    learning_rate: float = Field(3e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1, description="Share of the steps.")
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float | None = Field(None, gt=0)
    max_length: int = Field(512, ge=8, description="Prompt and target together, in tokens; longer rows are refused.")
    precision: Literal["fp32", "bf16"] = "fp32"
    lora: Lora | None = None
    held_out: float = Field(
        0.0, ge=0, lt=1, description="Share of the questions whose rows are not trained on, for a held-out loss."
    )
    evaluations: int = Field(10, ge=1, description="Times that the held-out loss is computed, if rows are held out.")
    match_updates_of: Name | None = Field(
        None, description="Control: make as many updates as this recipe does; rows repeat."
    )


class Refine(Section):
    """Self-refinement: a program that fails visibly goes back to the model with its error. Source: PaD, section 3.3."""

    prompt: Name = Field(description="Prompt of the repair: sees `question`, `program` and `feedback`.")
    rounds: int = Field(3, ge=1, le=8)


class Steps(Section):
    """Step-by-step verification: beam search over the lines of a program. Source: PaD, section 4; defaults are ours."""

    beams: int = Field(5, ge=1, description="Prefixes kept.")
    samples: int = Field(2, ge=1, description="Continuations of each prefix.")
    scorer: Annotated[str, Known("step_scorers")] = Field(
        "similarity",
        description="Of a line: likeness to the question's sentences, or whether the program runs so far.",
    )
    weight: float = Field(1.0, ge=0, alias="lambda", description="Of log(score) beside the log-probability.")
    length_penalty: float = Field(
        0.0,
        ge=0,
        description="A prefix's rank is divided by its tokens to this power. Paper: 1. 0 switches it off.",
    )
    max_lines: int = Field(24, ge=1)


class Predict(Section):
    """How a model answers test questions."""

    prompt: Name
    refine: Refine | None = None
    steps: Steps | None = None
    decoding: Literal["greedy"] = "greedy"
    max_new_tokens: int = Field(128, ge=1)
    answer_tokens: int = Field(32, ge=1)


class Recipe(Section):
    """A method. A recipe without rows is a prompting baseline: the base model answers."""

    recipe: VariantName
    extends: Name | None = Field(None, description="Start from another recipe; sections given here are merged over it.")
    title: str = Field(description="As tables print it.")
    paper: str | None = None
    weights_of: Name | None = Field(
        None, description="Answer with the students of this recipe: only `predict` differs, nothing is trained."
    )
    rows: dict[Name, Rows] | None = None
    pairs: Pairs | None = None
    mentor: Mentor | None = None
    objective: Annotated[SerializeAsAny[Objective], KnownObjective()] = Field(
        {"loss": "cross-entropy"}, validate_default=True, description="Which loss, and its settings."
    )
    train: Train | None = None
    predict: Predict

    @property
    def trained(self) -> bool:
        """Whether a model is trained; of a prompting baseline the base model answers."""
        return self.train is not None

    @model_validator(mode="after")
    def _parts_fit(self, info: ValidationInfo) -> "Recipe":
        if (self.rows is None and self.pairs is None) != (self.train is None):
            raise ValueError("rows and train go together: both for a trained student, none for a prompting baseline")
        if self.rows is not None and self.pairs is not None:
            raise ValueError("training rows come from `rows` or from `pairs`, not from both")
        registry: Registry | None = info.context
        assert registry is not None  # its objective could not have been validated without one
        needs = self.objective.needs
        if (self.pairs is not None) != ("pairs" in needs):
            raise ValueError(
                f"pairs need an objective on pairs, such as two-task, and the other way round; "
                f"{self.objective.loss} takes {'pairs' if 'pairs' in needs else 'single rows'}"
            )
        unknown = sorted(needs - frozenset().union(*registry.trainers.values()))
        if unknown:
            raise ValueError(f"objective {self.objective.loss} needs {', '.join(unknown)}, which no trainer provides")
        sources = [registry.row_sources[rows.source] for rows in (self.rows or {}).values()]
        for name, rows in (self.rows or {}).items():
            source = registry.row_sources[rows.source]
            if rows.taught != "reasoning" and (source.sampler is None or source.form == "program"):
                raise ValueError(f"rows.{name}: `taught` is for rationales of a model, not `from: {rows.source}`")
        uses_mentor = any(source.sampler == "mentor" for source in sources)
        if uses_mentor and (self.mentor is None or self.mentor.sampler is None):
            raise ValueError("rows from the mentor need mentor.trained_by and mentor.sampler")
        if "mentor" in needs and self.mentor is None:
            raise ValueError(f"objective {self.objective.loss} needs a mentor (mentor.trained_by)")
        if self.weights_of is not None and self.train is not None:
            raise ValueError("weights_of takes the students of another recipe: no rows and no train beside it")
        if any(rows.inject for rows in (self.rows or {}).values()) and self.predict.refine is None:
            raise ValueError("rows with inject teach repair, and predict.refine names the prompt that asks for it")
        if self.rows is not None and not self.rows:
            raise ValueError("rows is empty; name at least one source, or leave it out for a prompting baseline")
        return self
