"""The study of the output space: why programs are learnt faster than rationales, as numbers and a figure.

Per arm of an experiment: the course of the training loss and of the loss on held-out questions (`train.held_out`), how
far outputs lie apart, the share of programs that run to a value, and which errors there are before and after
self-refinement. A loss is that of a token of the arm's own targets: programs and rationales are compared by their
courses and by what a whole target costs (`target_nats`), not by the loss of one token.

Source: PaD (NAACL 2024), study of the output space.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import altair as alt

from distillery.evaluation.figures import COLOURS, FONT
from distillery.evaluation.table_formats import markdown_line
from distillery.evaluation.tables import Cell
from distillery.files import atomic_open, read_json
from distillery.models.static_embeddings import spread
from distillery.records import Draft, GradedPrediction, Outcome, read_records

NOT_RUN = {Outcome.RAISED, Outcome.REJECTED, Outcome.UNPARSABLE, Outcome.TRUNCATED, Outcome.REFUSED}

POINTS = 100
"""A chart of so few points marks them."""


@dataclass(frozen=True)
class Arm:
    """What the outputs of one arm are like. Shares in percent; `errors` are counts by round of self-refinement."""

    title: str
    losses: list[tuple[int, float]]
    """Updates, and mean loss since the point before, in nats per target token."""
    held_out_losses: list[tuple[int, float]]
    """Updates, and loss on the questions held out; empty where the recipe holds none out."""
    target_nats: float | None
    """Nats that a whole held-out target costs at the end; None where the recipe holds none out."""
    outputs: int
    distinct: int
    spread: float
    runnable: float | None
    errors: list[dict[str, int]] = field(default_factory=list)


def study(cells: Sequence[Cell], rounds: Mapping[str, Path], grader: str) -> list[Arm]:
    """One arm for each cell.

    Args:
        rounds: Scores file of a cell -> its versions in self-refinement, where it has them.
    """
    return [_arm(cell, rounds.get(str(cell.scores)), grader) for cell in cells]


def _arm(cell: Cell, rounds: Path | None, grader: str) -> Arm:
    predictions = list(read_records(cell.predictions, GradedPrediction))
    texts = [one.text for one in predictions]
    losses, held_out, nats = [], [], None
    for summary in map(read_json, cell.costs):
        losses += summary.get("loss_history", [])
        if course := summary.get("held_out_loss"):
            held_out += course
            nats = round(course[-1][1] * summary["held_out_tokens"] / summary["held_out_rows"], 2)
    runnable = None
    if read_json(cell.scores).get("programs"):
        ran = sum(one.outcomes[grader] not in NOT_RUN for one in predictions)
        runnable = round(100 * ran / len(predictions), 1)
    return Arm(
        title=f"{cell.arm_title}, {cell.model}, seed {cell.seed}",
        losses=[(int(step), float(loss)) for step, loss in losses],
        held_out_losses=[(int(step), float(loss)) for step, loss in held_out],
        target_nats=nats,
        outputs=len(texts),
        distinct=len(set(texts)),
        spread=round(spread(texts), 4),
        runnable=runnable,
        errors=_errors(rounds) if rounds else [],
    )


def _errors(rounds: Path) -> list[dict[str, int]]:
    """Class of error -> how many versions have it, in each round."""
    counted: dict[int, Counter[str]] = {}
    for draft in read_records(rounds, Draft):
        name = draft.feedback.split(":")[0] if draft.feedback else "runs"
        counted.setdefault(draft.round, Counter())[name] += 1
    return [dict(sorted(counted[number].items())) for number in sorted(counted)]


def write_study(arms: Sequence[Arm], title: str, markdown: Path, table: Path) -> None:
    """Write the numbers as a page and as CSV, atomically."""
    head = (
        "Arm",
        "Outputs",
        "Distinct",
        "Spread",
        "Runnable %",
        "Final loss",
        "Held-out loss",
        "Nats per target",
        "Errors by round",
    )
    rows = [
        (
            arm.title,
            str(arm.outputs),
            str(arm.distinct),
            f"{arm.spread:.4f}",
            "" if arm.runnable is None else f"{arm.runnable:.1f}",
            f"{arm.losses[-1][1]:.3f}" if arm.losses else "",
            f"{arm.held_out_losses[-1][1]:.3f}" if arm.held_out_losses else "",
            "" if arm.target_nats is None else f"{arm.target_nats:.2f}",
            " → ".join(", ".join(f"{name} {count}" for name, count in one.items()) for one in arm.errors),
        )
        for arm in arms
    ]
    lines = [f"# {title}: output space", "", *map(markdown_line, (head, ["---"] * len(head), *rows)), ""]
    lines.append("* Spread: mean cosine distance between two outputs of the arm; 0 where all are alike.")
    lines.append("* Held-out loss: nats per target token on questions that were not trained on, at the end.")
    lines.append(
        "* Nats per target: what a whole held-out rationale or program costs; it compares targets of unequal length."
    )
    lines.append("* Errors by round: of the versions of each round of self-refinement, what a user would see.")
    with atomic_open(markdown) as out:
        out.write("\n".join(lines) + "\n")
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    with atomic_open(table) as out:
        out.write(text.getvalue())


def draw_study(arms: Sequence[Arm], title: str) -> alt.TopLevelMixin:
    """Training loss and held-out loss over updates beside the spread of outputs, an arm a colour."""
    names = [arm.title for arm in arms]
    scale = alt.Scale(domain=names, range=[COLOURS[number % len(COLOURS)] for number in range(len(names))])
    colour = alt.Color("arm:N", sort=names, scale=scale, title=None, legend=None)
    size = {"width": 280, "height": 240}
    courses = {
        "Training loss (nats per token)": [arm.losses for arm in arms],
        "Held-out loss (nats per token)": [arm.held_out_losses for arm in arms],
    }
    charts: list[alt.TopLevelMixin] = []
    for what, losses in courses.items():
        points = [
            {"arm": name, "update": step, "loss": loss}
            for name, course in zip(names, losses, strict=True)
            for step, loss in course
        ]
        if points:
            charts.append(
                alt.Chart(alt.Data(values=points))
                .mark_line(point=len(points) <= POINTS)
                .encode(x=alt.X("update:Q", title="Updates"), y=alt.Y("loss:Q", title=what), color=colour)
                .properties(**size)
            )
    bars = [{"arm": arm.title, "spread": arm.spread} for arm in arms]
    charts.append(
        alt.Chart(alt.Data(values=bars))
        .mark_bar()
        .encode(
            x=alt.X("spread:Q", title="Spread of outputs (mean cosine distance)"),
            y=alt.Y("arm:N", sort=names, title=None, axis=alt.Axis(labelLimit=0)),
            color=colour,
        )
        .properties(**size)
    )
    return alt.hconcat(*charts).properties(title=title).configure(font=FONT, background="white", padding=16)
