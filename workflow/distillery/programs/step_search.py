"""Step-by-step verification: beam search over the lines of a program, with a score for every line.

The model continues each of B prefixes by M next lines: the likeliest and sampled ones. Of all prefixes the search keeps
the B best by

    (sum of log-probabilities + lambda * sum of log(score of line)) / tokens ** length_penalty

A prefix is finished when the model ends it, when it contains a stop text of the prompt, when a line reaches its token
limit, or when `solution` has returned at its outer level. Finished prefixes stay among the candidates. lambda = 0, like
the scorer `none`, is plain step beam search. For a model that is certain of its text, the search returns the greedy
text, whatever the tokenizer.

Lines come from the completion store like all completions, with a stop at the line's end. A causal model reads the
prefix behind the prompt; the decoder of an encoder-decoder continues after it.

Source: PaD specification, section 4; there with token-level beams inside a copied `generate` and a length penalty of 1.
B, M, lambda and the default penalty of 0 are ours.
"""

import ast
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distillery.config.prompt import Prompt
from distillery.programs.step_scorers import Scorer
from distillery.programs.step_scorers.execution import SOLUTION
from distillery.programs.syntax import Unparsable, parse
from distillery.records import Completion, Question
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler, requests_for

LINE_END = "\n"
SAMPLED = 0.7
"""Temperature of the lines beside the likeliest one."""


@dataclass(frozen=True)
class Beam:
    """A prefix of a program, as the model wrote it. `likelihood` and `score` are sums of logarithms over its lines.

    `tail`: what the token that ended the last line wrote of the next one, most often its indentation.
    """

    text: str
    likelihood: float
    score: float
    finished: bool
    key: str
    lines: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cut: bool = False
    tail: str = ""

    def rank(self, steps: Mapping[str, Any]) -> float:
        total = self.likelihood + steps["lambda"] * self.score
        return total / max(1, self.tokens) ** steps.get("length_penalty", 0.0)


def search(
    questions: Sequence[Question],
    exemplars: Sequence[Mapping[str, Any]],
    spec: Mapping[str, Any],
    model_sampler: CompletionSampler,
    scorer: Scorer,
    *,
    sampler: str,
) -> tuple[list[Completion], dict[str, Any]]:
    """The best program of each question.

    Args:
        spec: `prompt`, `decoding` (greedy; its max_new_tokens is that of a line), and `steps` (a Steps section).
        sampler: Name written into every record.
    """
    prompt, steps = Prompt.model_validate(spec["prompt"]), spec["steps"]
    rows, requests = requests_for(questions, exemplars, {**spec, "samples": 1}, model_sampler.folder)
    request_of = {question.qid: request for (question, _), request in zip(rows, requests, strict=True)}
    text_of = {question.qid: question.question for question in questions}
    beams = {qid: [Beam("", 0.0, 0.0, False, "")] for qid in sorted(request_of)}
    for number in range(steps["max_lines"]):
        open_beams = [(qid, beam) for qid, kept in beams.items() for beam in kept if not beam.finished]
        if not open_beams:
            break
        written = _continued(open_beams, request_of, spec, prompt, model_sampler, f"line {number + 1} of {sampler}")
        flat = [(qid, beam, new) for (qid, beam), longer in zip(open_beams, written, strict=True) for new in longer]
        scores = scorer.scores(
            [text_of[qid] for qid, _, _ in flat],
            [beam.text for _, beam, _ in flat],
            [new.text[len(beam.text) :] for _, beam, new in flat],
            [new.finished for _, _, new in flat],
        )
        reached: dict[str, dict[tuple[str, bool], Beam]] = {
            qid: {(beam.text, True): beam for beam in kept if beam.finished} for qid, kept in beams.items()
        }
        for (qid, _, new), score in zip(flat, scores, strict=True):
            scored = replace(new, score=new.score + math.log(max(score, 1e-6)))
            before = reached[qid].get((scored.text, scored.finished))
            if before is None or scored.rank(steps) > before.rank(steps):
                reached[qid][scored.text, scored.finished] = scored
        beams = {
            qid: sorted(found.values(), key=lambda beam: (-beam.rank(steps), beam.text))[: steps["beams"]]
            for qid, found in reached.items()
        }
    best = {
        qid: min(kept, key=lambda beam: (not beam.finished, -beam.rank(steps), beam.text))
        for qid, kept in beams.items()
    }
    completions = [
        Completion(
            completion_id=beam.key,
            qid=qid,
            sampler=sampler,
            sample_index=0,
            text=beam.text,
            finish_reason="length" if beam.cut or not beam.finished else "stop",
            prompt_tokens=beam.prompt_tokens,
            completion_tokens=beam.tokens,
        )
        for qid, beam in best.items()
    ]
    finished = sum(beam.finished for beam in best.values())
    lines_each = sum(beam.lines for beam in best.values()) / max(1, len(best))
    return completions, {"finished": finished, "questions": len(best), "mean_lines": round(lines_each, 3)}


def most_lines(spec: Mapping[str, Any]) -> int:
    """The most lines that `search` requests for one question: all beams exist from the second line on, none ends."""
    steps = spec["steps"]
    return steps["samples"] * (1 + steps["beams"] * (steps["max_lines"] - 1))


def _continued(
    open_beams: Sequence[tuple[str, Beam]],
    request_of: Mapping[str, Request],
    spec: Mapping[str, Any],
    prompt: Prompt,
    model_sampler: CompletionSampler,
    what: str,
) -> list[list[Beam]]:
    """Next lines of each beam: the likeliest first, then the sampled ones; equal lines once."""
    steps = spec["steps"]
    prompts = [_after(request_of[qid], beam.text + beam.tail, model_sampler.architecture) for qid, beam in open_beams]
    greedy = model_sampler.complete(prompts, spec["decoding"], [LINE_END], what, scored=True)
    sampled = model_sampler.complete(
        [replace(request, sample_index=index) for request in prompts for index in range(1, steps["samples"])],
        {**spec["decoding"], "temperature": SAMPLED, "top_p": 1.0, "top_k": 0, "seed": 0},
        [LINE_END],
        what,
        scored=True,
    )
    others = steps["samples"] - 1
    found = []
    for place, (_, beam) in enumerate(open_beams):
        new: dict[tuple[str, bool], Beam] = {}
        for stored in (greedy[place], *sampled[place * others : (place + 1) * others]):
            written, likelihood, tail = decode_scored(stored.text)
            cut = stored.finish_reason == "length"
            text = beam.text + beam.tail + written + ("" if tail is None else LINE_END)
            stops = [place for stop in prompt.stop if (place := (text + (tail or "")).find(stop)) >= 0]
            ended = tail is None or bool(stops)  # by the model, by its token limit, or by a stop text of the prompt
            text = text[: min(stops)] if stops else text
            new.setdefault(
                (text, ended),
                Beam(
                    text=text,
                    likelihood=beam.likelihood + likelihood,
                    score=beam.score,
                    finished=cut or ended or has_returned(text),
                    key=stored.key,
                    lines=beam.lines + 1,
                    tokens=beam.tokens + stored.completion_tokens,
                    prompt_tokens=beam.prompt_tokens or stored.prompt_tokens,
                    cut=cut,
                    tail=tail or "",
                ),
            )
        found.append(list(new.values()))
    return found


def has_returned(text: str) -> bool:
    """Whether `solution` has a return statement at its outer level: what follows it can no longer change its value."""
    try:
        tree = parse(textwrap.dedent(text))
    except Unparsable:
        return False
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == SOLUTION
        and any(isinstance(statement, ast.Return) for statement in node.body)
        for node in tree.body
    )


def _after(request: Request, written: str, architecture: str) -> Request:
    """The request for what follows `written`, which the decoder of an encoder-decoder continues from."""
    if architecture == "encoder-decoder":
        return replace(request, written=written)
    return replace(request, prompt=request.prompt + written)
