"""Step-by-step verification: beam search over the lines of a program, with a score for every line.

From each of B prefixes the model writes M next lines (the likeliest, and sampled ones). The best B of all by

    sum of log-probabilities + lambda * sum of log(score of line)

go on. A prefix that returned, or that the model ended, is finished and stays in the race. lambda = 0, like the scorer
`none`, is plain step beam search. Lines are asked of the same engine as everything else, with a stop at the line's end,
and kept in the store. A causal model reads the prefix behind the prompt, an encoder-decoder's decoder goes on after it.

Source: PaD specification, section 4; there with token-level beams inside a copied `generate`. B, M and lambda are ours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distillery.config.prompt import Prompt
from distillery.programs.step_scorers import Scorer
from distillery.records import Completion, Question
from distillery.sampling.logprobs import decode_scored
from distillery.sampling.requests import Request
from distillery.sampling.sampler import CompletionSampler, requests_for

LINE_END = "\n"
SAMPLED = 0.7
"""Temperature of the lines beside the likeliest one."""


@dataclass(frozen=True)
class Beam:
    """A prefix of a program. `likelihood` and `score` are sums of logarithms over its lines.

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

    def rank(self, weight: float) -> float:
        return self.likelihood + weight * self.score


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
    asked = {question.qid: request for (question, _), request in zip(rows, requests, strict=True)}
    text_of = {question.qid: question.question for question in questions}
    beams = {qid: [Beam("", 0.0, 0.0, False, "")] for qid in sorted(asked)}
    for number in range(steps["max_lines"]):
        todo = [(qid, beam) for qid, ones in beams.items() for beam in ones if not beam.finished]
        if not todo:
            break
        written = _continued(todo, asked, spec, prompt, model_sampler, f"line {number + 1} of {sampler}")
        flat = [(qid, beam, new) for (qid, beam), news in zip(todo, written, strict=True) for new in news]
        prefixes = [beam.text for _, beam, _ in flat]
        lines = [new.text[len(beam.text) :] for _, beam, new in flat]
        scores = scorer.scores([text_of[qid] for qid, _, _ in flat], prefixes, lines)
        reached: dict[str, dict[str, Beam]] = {
            qid: {beam.text: beam for beam in ones if beam.finished} for qid, ones in beams.items()
        }
        for (qid, _, new), score in zip(flat, scores, strict=True):
            one = replace(new, score=new.score + math.log(max(score, 1e-6)))
            before = reached[qid].get(one.text)
            if before is None or one.rank(steps["lambda"]) > before.rank(steps["lambda"]):
                reached[qid][one.text] = one
        beams = {
            qid: sorted(ones.values(), key=lambda beam: (-beam.rank(steps["lambda"]), beam.text))[: steps["beams"]]
            for qid, ones in reached.items()
        }
    best = {
        qid: min(ones, key=lambda beam: (not beam.finished, -beam.rank(steps["lambda"]), beam.text))
        for qid, ones in beams.items()
    }
    completions = [
        Completion(
            completion_id=beam.key,
            qid=qid,
            sampler=sampler,
            sample_index=0,
            text=beam.text.rstrip(LINE_END),
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
    """The most that `search` asks for one question: all beams are there from the second line on, and none returns."""
    steps = spec["steps"]
    return steps["samples"] * (1 + steps["beams"] * (steps["max_lines"] - 1))


def _continued(
    todo: Sequence[tuple[str, Beam]],
    asked: Mapping[str, Request],
    spec: Mapping[str, Any],
    prompt: Prompt,
    model_sampler: CompletionSampler,
    what: str,
) -> list[list[Beam]]:
    """Next lines of each beam: the likeliest first, then the sampled ones; equal lines once."""
    steps = spec["steps"]
    stop = [LINE_END, *(one for one in prompt.stop if LINE_END not in one)]
    prompts = [_after(asked[qid], beam.text + beam.tail, model_sampler.architecture) for qid, beam in todo]
    greedy = model_sampler.complete(prompts, spec["decoding"], stop, what, scored=True)
    sampled = model_sampler.complete(
        [replace(one, sample_index=index) for one in prompts for index in range(1, steps["samples"])],
        {**spec["decoding"], "temperature": SAMPLED, "top_p": 1.0, "top_k": 0, "seed": 0},
        stop,
        what,
        scored=True,
    )
    others = steps["samples"] - 1
    found = []
    for place, (_, beam) in enumerate(todo):
        new: dict[str, Beam] = {}
        for stored in (greedy[place], *sampled[place * others : (place + 1) * others]):
            written, likelihood, tail = decode_scored(stored.text)
            line = beam.tail + written
            cut = stored.finish_reason == "length"
            text = beam.text + line + LINE_END
            returned = line.strip().startswith("return") and len(line) - len(line.lstrip()) <= 4
            new.setdefault(
                text,
                Beam(
                    text=text,
                    likelihood=beam.likelihood + likelihood,
                    score=beam.score,
                    finished=returned or cut or tail is None or not line.strip(),
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


def _after(request: Request, written: str, architecture: str) -> Request:
    """The request for what follows `written`: an encoder reads questions only, so there the decoder goes on from it."""
    if architecture == "encoder-decoder":
        return replace(request, written=written)
    return replace(request, prompt=request.prompt + written)
