"""The study of the output space: why programs are learnt faster than rationales, as numbers and a figure.

For each arm of an experiment: the curves of the training loss and of the loss on held-out questions (`train.held_out`),
the mean distance between two outputs, the share of programs that run to a value, and the errors before and after
self-refinement. A loss is the mean over tokens of the arm's own targets. Compare programs and rationales by the shape
of their curves and by the loss of a whole target (`target_nats`), not by the loss per token.

Source: PaD (NAACL 2024), study of the output space.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import altair as alt

from distillery.evaluation.figures import COLOURS, FONT
from distillery.evaluation.outcomes import RAN, percent_of
from distillery.evaluation.table_records import Cell
from distillery.files import atomic_open, read_json
from distillery.models.static_embeddings import spread
from distillery.pages import markdown_table, markdown_text
from distillery.records import Draft, GradedPrediction, read_records

POINTS = 100
"""A chart with at most this many points marks each of them."""


@dataclass(frozen=True)
class Arm:
    """The outputs of one arm. Shares in percent; `errors` are counts by round of self-refinement."""

    title: str
    losses: list[tuple[int, float]]
    """Updates, and mean loss since the point before, in nats per target token."""
    held_out_losses: list[tuple[int, float]]
    """Updates, and loss on the questions held out; empty where the recipe holds none out."""
    target_nats: float | None
    """Loss of a whole held-out target after training, in nats; None where the recipe holds none out."""
    outputs: int
    distinct: int
    spread: float
    runnable: float | None
    errors: list[dict[str, int]] = field(default_factory=list)


def study(cells: Sequence[Cell], rounds: Mapping[str, Path], grader: str) -> list[Arm]:
    """One arm for each cell.

    Args:
        rounds: Scores file of a cell -> file of its versions in self-refinement, for cells that have one.
    """
    return [_arm(cell, rounds.get(str(cell.scores)), grader) for cell in cells]


def _arm(cell: Cell, rounds: Path | None, grader: str) -> Arm:
    predictions = list(read_records(cell.predictions, GradedPrediction))
    texts = [prediction.text for prediction in predictions]
    losses, held_out, nats = [], [], None
    for summary in map(read_json, cell.costs):
        losses += summary.get("loss_history", [])
        if curve := summary.get("held_out_loss"):
            held_out += curve
            nats = round(curve[-1][1] * summary["held_out_tokens"] / summary["held_out_rows"], 2)
    scores = read_json(cell.scores)
    runnable = round(percent_of(scores["graders"][grader], RAN), 1) if scores.get("programs") else None
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
    """Class of error -> number of versions that have it, in each round."""
    counted: dict[int, Counter[str]] = {}
    for draft in read_records(rounds, Draft):
        name = draft.feedback.split(":")[0] if draft.feedback else "runs"
        counted.setdefault(draft.round, Counter())[name] += 1
    return [dict(sorted(counted[number].items())) for number in sorted(counted)]


def write_study(arms: Sequence[Arm], title: str, markdown: Path, table: Path) -> None:
    """Write the numbers as a page and as CSV, atomically."""
    import pandas as pd

    frame = pd.DataFrame([_printed(arm) for arm in arms], dtype="string")
    headings, rows = list(frame.columns), frame.to_numpy().tolist()
    lines = [
        f"# {markdown_text(title)}: output space",
        "",
        *markdown_table(headings, rows, [False] * len(headings)),
        "",
    ]
    lines.append("* Spread: mean cosine distance between two outputs of the arm; 0 if all outputs are the same.")
    lines.append("* Held-out loss: nats per target token on questions that were not trained on, after training.")
    lines.append(
        "* Nats per target: loss of a whole held-out rationale or program; it compares targets of unequal length."
    )
    lines.append(
        "* Errors by round: number of versions with each error that a user would see, by round of self-refinement."
    )
    with atomic_open(markdown) as out:
        out.write("\n".join(lines) + "\n")
    with atomic_open(table) as out:
        out.write(frame.to_csv(index=False, lineterminator="\n"))


def _printed(arm: Arm) -> dict[str, str]:
    """The figures of an arm as page and CSV print them; empty where there is none."""
    return {
        "Arm": arm.title,
        "Outputs": str(arm.outputs),
        "Distinct": str(arm.distinct),
        "Spread": f"{arm.spread:.4f}",
        "Runnable %": "" if arm.runnable is None else f"{arm.runnable:.1f}",
        "Final loss": f"{arm.losses[-1][1]:.3f}" if arm.losses else "",
        "Held-out loss": f"{arm.held_out_losses[-1][1]:.3f}" if arm.held_out_losses else "",
        "Nats per target": "" if arm.target_nats is None else f"{arm.target_nats:.2f}",
        "Errors by round": " → ".join(
            ", ".join(f"{name} {count}" for name, count in errors.items()) for errors in arm.errors
        ),
    }


def draw_study(arms: Sequence[Arm], title: str) -> alt.TopLevelMixin:
    """Training loss and held-out loss over updates beside the spread of outputs, with one colour for each arm."""
    names = [arm.title for arm in arms]
    scale = alt.Scale(domain=names, range=[COLOURS[number % len(COLOURS)] for number in range(len(names))])
    colour = alt.Color("arm:N", sort=names, scale=scale, title=None, legend=None)
    size = {"width": 280, "height": 240}
    curves = {
        "Training loss (nats per token)": [arm.losses for arm in arms],
        "Held-out loss (nats per token)": [arm.held_out_losses for arm in arms],
    }
    charts: list[alt.TopLevelMixin] = []
    for what, losses in curves.items():
        points = [
            {"arm": name, "update": step, "loss": loss}
            for name, curve in zip(names, losses, strict=True)
            for step, loss in curve
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
