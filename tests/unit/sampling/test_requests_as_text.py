"""What a model reads, as whole text: each shipped prompt beside the text that it should give, chat template included.

The expected texts stand in `requests/`, one file for each prompt, to be read and checked by a person. After a prompt is
changed on purpose, `WRITE_REQUESTS=1 pytest tests/unit/sampling/test_requests_as_text.py` writes them; then read them.
"""

import os
from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer

from distillery.config.base import plain
from distillery.config.model import RandomModel
from distillery.config.prompt import Prompt
from distillery.models.sources import prepare_model
from distillery.peer_review.ask import ask_reviewers, ask_teachers, hints_of
from distillery.peer_review.assignments import assignments
from distillery.peer_review.records import Mistake, Taught
from distillery.programs.self_refinement import refine
from distillery.records import Completion, Question
from distillery.sampling.sampler import sample
from distillery.tasks.prompts import Renderer

from .recorded import Recorder, RecordingSampler

HERE = Path(__file__).parent
PROMPTS = {path.stem: path for path in sorted((HERE.parents[2] / "config" / "prompts").glob("*.yaml"))}

QUESTION = Question(
    qid="q1", task="t", question="Lea picks 6 plums and eats 2 plums. How many plums are left?", gold="4",
    rationale="6 plums less 2 plums are 4 plums.",
)  # fmt: skip
WRONG = "6 + 2 = 8. --> 8"
RATIONALE = "She has 6 - 2 = 4. --> 4"
FAILING = "def solution():\n    return plums - 2"
WORDS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]


def exemplar(number: int, question: str) -> dict:
    rationale = f"It is {number} and 1 more."
    program = f"def solution():\n    return {number} + 1"
    return {"question": question, "rationale": rationale, "gold": str(number + 1), "program": program}


def exemplars() -> list[dict]:
    """52 worked examples. Numbers 10 and 49 resemble the question most, 20 and 51 next."""
    made = [exemplar(n, f"An {WORDS[n % 8]} has {n} nuts, then 1 comes.") for n in range(52)]
    near = "Tom picks 9 plums and eats 3 plums. How many are left?"
    made[10] = exemplar(10, near)
    made[49] = exemplar(49, near)
    made[20] = exemplar(20, "How many figs are left?")
    made[51] = exemplar(51, "How many figs are left?")
    return made


CHAT = "{% for m in messages %}[{{ m.role }}] {{ m.content }} [end]\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"  # noqa: E501


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder whose tokenizer has a chat template."""
    out = tmp_path_factory.mktemp("models") / "chat"
    prepare_model(RandomModel(kind="random", layers=1, hidden_size=32), out, parent=None, downloads=out.parent)
    tokenizer = AutoTokenizer.from_pretrained(out)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(out)
    return out


def section(name: str) -> dict:
    """A prompt in the form in which rules hand it to scripts."""
    return plain(Prompt.model_validate(yaml.safe_load(PROMPTS[name].read_text())))


def decoding(temperature: float = 0.0) -> dict:
    return {"temperature": temperature, "top_p": 1.0, "top_k": 0, "max_new_tokens": 9, "answer_tokens": 5, "seed": 0}


def asked_of(name: str, sampler: RecordingSampler) -> None:
    """Ask with this prompt in the way in which the workflow asks with it: the fields of its input say which."""
    shown = section(name)["input"]
    if "feedback" in shown and "program" in shown:
        spec = {"prompt": section(name), "decoding": decoding(), "rounds": 1, "answer": "number"}
        drawn = Completion(
            completion_id="c", qid="q1", sampler="s", sample_index=0, text=FAILING, finish_reason="stop",
            prompt_tokens=1, completion_tokens=1,
        )  # fmt: skip
        refine([QUESTION], [drawn], [], spec, sampler)
        return
    mistake = Mistake(
        qid="q1", question=QUESTION.question, gold="4", text=f" {WRONG}\n", answer="8", kind="wrong", completion_id=None
    )
    if "hint" in shown:
        written = Taught(
            completion_id="c", qid="q1", sampler="anna", sample_index=0, text=f" {RATIONALE}\n", finish_reason="stop",
            prompt_tokens=1, completion_tokens=1,
        )  # fmt: skip
        todo, _ = assignments([written], {"anna": ["bert"]})
        ask_reviewers(
            todo, [mistake], {"bert": section(name)}, sampler, protocol="robust", decoding=decoding(),
            hints=hints_of("answer", [mistake], [QUESTION]),
        )  # fmt: skip
    elif "wrong" in shown:
        spec = {"prompt": section(name), "decoding": decoding()}
        ask_teachers([mistake], exemplars(), {"anna": {"rationale": BARE, "feedback": spec}}, sampler)
    else:
        spec = {"prompt": section(name), "decoding": decoding(), "samples": 1}
        sample([QUESTION], exemplars(), spec, sampler, sampler="s")


BARE = {"prompt": plain(Prompt(prompt="bare", input="-")), "decoding": decoding()}


def text_of(name: str, sampler: RecordingSampler) -> str:
    """All that a model reads with this prompt, call by call, and the target that a student learns to write."""
    asked_of(name, sampler)
    parts = []
    for series, requests in sampler.recorder.calls:
        for pending in requests:
            request = pending.request
            if request.prompt == "-":  # the teacher's rationale, which is another prompt's business
                continue
            choice = f", one of {' '.join(series.choice)}" if series.choice else ""
            how = f"temperature {series.temperature:g}, {series.max_new_tokens} tokens, stop {list(series.stop)}"
            tokens = "" if request.special_tokens else ", no special tokens"
            parts.append(f"=== request ({how}{choice}{tokens})\n{request.prompt}")
    if section(name)["target"]:
        rationale = FAILING if section(name)["form"] == "program" else RATIONALE.split(" -->")[0]
        target = Renderer(Prompt.model_validate(section(name)), exemplars(), ("program", "feedback")).target(
            rationale, "4", QUESTION.question
        )
        parts.append(f"=== target\n{target}")
    return "\n".join(parts) + "\n=== end\n"


def test_every_shipped_prompt_has_an_expected_text():
    assert {path.stem for path in (HERE / "requests").glob("*.txt")} == set(PROMPTS)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_model_reads_exactly_the_expected_text(name, folder, tmp_path):
    text = text_of(name, RecordingSampler(folder, Recorder(), tmp_path))
    expected = HERE / "requests" / f"{name}.txt"
    if os.environ.get("WRITE_REQUESTS"):
        expected.write_text(text)
    assert text == expected.read_text()
