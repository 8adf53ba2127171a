"""Tokenisation: prompts and targets become token ids in the same way for sampling and for training.

In sampling a student gets the ids of the prompt alone. So it must be trained on the same ids, followed by those of the
target and the stop token:

    prompt ids (no loss) | target ids (loss) | stop token (loss)

An encoder-decoder's target begins as its tokenizer begins texts: `<s>` for the RoBERTa vocabulary of CodeT5, as
its authors and PaD train it, nothing for T5.

Tokenising prompt and target as one string would merge across the seam and teach a prompt that sampling never sends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distillery.errors import UserError
from distillery.records import TrainingRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Architecture = Literal["causal", "encoder-decoder"]
Form = Literal["text", "program"]


@dataclass(frozen=True, slots=True)
class Example:
    """A training row as token ids; `target_ids` ends with the stop token."""

    prompt_ids: list[int]
    target_ids: list[int]


def padding_tokenizer(folder: Path, **settings: Any) -> "PreTrainedTokenizerBase":
    """The tokenizer of a prepared model, which pads with its stop token where it has no token of its own for that.

    Padding is masked by place, so sharing the stop token is harmless.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **settings)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str, *, special_tokens: bool = True) -> list[int]:
    """Token ids of a prompt, as they are sent to the model: with the special tokens that its tokenizer adds.

    That is a leading BOS for some causal families, a trailing EOS for encoders such as T5, nothing for SmolLM2. A chat
    template writes them itself; then `special_tokens` is False.
    """
    return tokenizer(prompt, add_special_tokens=special_tokens).input_ids


def encode_target(tokenizer: "PreTrainedTokenizerBase", target: str) -> list[int]:
    """Token ids of a target, with the stop token (EOS) at the end."""
    return [*tokenizer(target, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def target_start(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Special tokens that the tokenizer of an encoder-decoder sets before a text, and so before each target."""
    ids = tokenizer("").input_ids
    return ids[: ids.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in ids else ids


def encode_rows(
    rows: Sequence[TrainingRow],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    architecture: Architecture,
    max_length: int,
    form: Form = "text",
) -> list[Example]:
    """Tokenise rows, in their order, and refuse those that cannot be learnt exactly.

    Args:
        rows: Prompts and targets.
        tokenizer: Of the model that is trained.
        architecture: `causal` or `encoder-decoder`.
        max_length: For causal models prompt and target together, for encoder-decoders each of the two, in tokens, the
            stop token included.
        form: What targets are; the white space of a `program` is part of it.

    Raises:
        UserError: There are no rows; the tokenizer has no stop token; a row is too long; a prompt is empty or ends with
            the stop token; a target contains the stop token, or does not come back from its ids. A text for an
            encoder-decoder may come back with other white space: T5's vocabulary knows no newline. A program may not.
    """
    if not rows:
        raise UserError("no training rows", remedy="Sample more, or let the recipe keep more (`rows.keep`)")
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no stop token (eos_token)", remedy="Choose a model whose tokenizer has one")
    start = target_start(tokenizer) if architecture == "encoder-decoder" else []
    examples = [
        Example(encode_prompt(tokenizer, row.prompt), [*start, *encode_target(tokenizer, row.target)]) for row in rows
    ]
    _refuse_long(rows, examples, architecture, max_length)
    for row, example in zip(rows, examples, strict=True):
        problem = _fault(row, example, tokenizer, architecture, len(start))
        if problem:
            raise UserError(
                problem,
                key=_place(row),
                value=row.target[:80],
                remedy="Drop the row in the recipe, or choose a model whose vocabulary covers the task",
            )
        if form == "program":
            check_program(tokenizer, row.target, file=tokenizer.name_or_path, key=_place(row))
    return examples


PROBE = (
    "def solution():\n    words = ['a']\n    for word in words:\n        last = word  # b\n    return ' '.join(words)"
)
"""A program with what tokenizers of prose lose: newlines, two depths of indentation, a space inside quotes."""


def check_program(tokenizer: "PreTrainedTokenizerBase", program: str, *, file: object, key: str) -> None:
    """Refuse a tokenizer that cannot write a program exactly: without newlines and indentation none runs.

    Args:
        file: The model, as the user knows it.
        key: Which program it is.

    Raises:
        UserError: The program comes back from its token ids as another text.
    """
    text = tokenizer.decode(tokenizer(program, add_special_tokens=False).input_ids, clean_up_tokenization_spaces=False)
    if text != program:
        raise UserError(
            f"the tokenizer destroys programs: it gives this one back as {text[:80]!r}",
            file=file,
            key=key,
            value=program[:80],
            remedy="Teach programs to a student whose tokenizer keeps newlines and indentation, such as CodeT5 "
            "(docs/how-to.md), and rationales to this one",
        )


def _refuse_long(rows: Sequence[TrainingRow], examples: list[Example], architecture: str, max_length: int) -> None:
    def length(example: Example) -> int:
        parts = len(example.prompt_ids), len(example.target_ids)
        return sum(parts) if architecture == "causal" else max(parts)

    lengths = [length(example) for example in examples]
    long = sum(tokens > max_length for tokens in lengths)
    if long:  # a cut row would teach the student to stop in the middle of a thought
        worst = max(range(len(rows)), key=lengths.__getitem__)
        raise UserError(
            f"{long} of {len(rows)} rows are too long; the longest ({_place(rows[worst])}) has {lengths[worst]} tokens",
            key="train.max_length",
            value=max_length,
            remedy=f"Raise it to {lengths[worst]}, or drop long rows",
        )


def _fault(
    row: TrainingRow, example: Example, tokenizer: "PreTrainedTokenizerBase", architecture: str, start: int
) -> str | None:
    *target_ids, stop = example.target_ids[start:]
    if not example.prompt_ids:
        return "the prompt is empty, so the first target token has nothing to follow"
    if architecture == "causal" and example.prompt_ids[-1] == stop and tokenizer.bos_token_id != stop:
        return "the prompt ends with the stop token, so a student would learn to continue after it"
    if stop in target_ids:
        return f"the target contains the stop token {tokenizer.eos_token!r}"
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in target_ids:
        return "the target has characters that the vocabulary lacks"
    text = tokenizer.decode(target_ids, clean_up_tokenization_spaces=False)
    if architecture == "causal" and text != row.target:
        return f"the target does not come back from its token ids, but {text[:80]!r}"
    if architecture == "encoder-decoder" and text.split() != row.target.split():
        return f"the target does not come back from its token ids, but {text[:80]!r}"
    return None


def _place(row: TrainingRow) -> str:
    return f"row {row.qid}/{row.source}/{row.sample_index}"
