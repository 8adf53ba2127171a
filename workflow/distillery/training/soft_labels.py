"""Soft labels as a file: what a mentor expects at every target position of the training rows.

An Arrow file with a record batch for each training row, in the order of the rows' file, and a record for each target
position, stop token included. It is read through a memory map, so that a training holds what a batch needs and no more.

    exact    logits   (vocabulary)      float16 where the mentor computes in bfloat16, else float32
    top-k    tokens   (k)               the k likeliest tokens, the likeliest first
             logprobs (k)               their log-probabilities at temperature 1
             tails    (temperatures)    for each temperature t the log of the sum over all other tokens of p**(1/t)

A row is found by its token ids (`row_digest`): any order, selection or repetition of rows gets its own labels, and
labels of other rows, or of another tokenizer, are refused. float16 has 11 bits of precision where bfloat16 has 8, and
logits lie within its range, so nothing of a bfloat16 logit is lost; float32 logits are kept in float32.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from distillery.config.extensions import TEMPERATURES, SoftLabelForm
from distillery.errors import UserError
from distillery.models.manifest import ONE_FAMILY, Manifest, Vocabulary
from distillery.models.tokenization import Example
from distillery.training.losses import IGNORE, TopK

ROWS = "soft_label_rows"
"""Key of a batch under which the collator gives the place of each of its rows in the file."""
META = b"soft_labels"
NO_ROW = -1


def row_digest(example: Example) -> str:
    """Hex digest, 32 digits, of the token ids of a row, and of where its target starts."""
    ids = np.asarray([len(example.prompt_ids), *example.prompt_ids, *example.target_ids], dtype="<i8")
    return hashlib.sha256(ids.tobytes()).hexdigest()[:32]


class SoftLabelWriter:
    """Writes the labels of rows, one after another; used as a context.

    Args:
        out: Where to; the file is whole when the context ends.
        mentor: Manifest of the mentor; its vocabulary is kept in the file.
        form: What is kept of each distribution.
        half: Whether logits fit float16.
        examples: All rows whose labels will be added, in this order.
    """

    def __init__(
        self, out: IO[bytes], mentor: Manifest, form: SoftLabelForm, *, half: bool, examples: Iterable[Example]
    ) -> None:
        self.form, self.half, width = form, half, mentor.vocabulary.size
        number = pa.float16() if half else pa.float32()
        self.columns = {"logits": (number, width)}
        if form.form == "top-k":
            k, known = int(form.k or 0), len(TEMPERATURES)
            self.columns = {"tokens": (pa.int32(), k), "logprobs": (pa.float32(), k), "tails": (pa.float32(), known)}
        about = {
            **form.model_dump(mode="json"),
            "rows": [row_digest(example) for example in examples],
            "temperatures": list(TEMPERATURES) if form.form == "top-k" else [],
            "vocabulary": mentor.vocabulary.model_dump(mode="json"),
        }
        self.schema = pa.schema(
            [(name, pa.list_(kind, size)) for name, (kind, size) in self.columns.items()],
            metadata={META: json.dumps(about, sort_keys=True).encode()},
        )
        self._writer = pa.ipc.new_file(out, self.schema)

    def add(self, logits: Tensor) -> dict[str, Tensor]:
        """Add the next row.

        Args:
            logits: Of the mentor, (target positions, vocabulary).

        Returns:
            What is kept of them, and more of which a report is made.
        """
        parts = {"logits": logits} if self.form.form == "exact" else top_k(logits, int(self.form.k or 0))
        arrays = []
        for name, (kind, size) in self.columns.items():
            values = parts[name].to(torch.float16 if self.half and name == "logits" else parts[name].dtype)
            if kind == pa.float16():
                self._in_range(logits, values)
            if values.dtype == torch.bfloat16:
                values = values.float()
            flat = values.cpu().contiguous().numpy().reshape(-1)
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat, type=kind), size))
        self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        return parts

    def _in_range(self, logits: Tensor, stored: Tensor) -> None:
        if bool((stored.isinf() & ~logits.isinf()).any()):
            raise UserError(
                f"the mentor has logits of {float(logits.abs().max()):.0f}, which float16 cannot hold",
                key="train.precision",
                value="bf16",
                remedy="Train with precision: fp32, or write `soft_labels: online`",
            )

    def __enter__(self) -> "SoftLabelWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def top_k(logits: Tensor, k: int) -> dict[str, Tensor]:
    """The columns of `top-k`, of logits (positions, vocabulary); and `moments`, of which the report is made.

    A moment is the sum over the other tokens of p**(1/t) log p, (positions, temperatures).
    """
    logprobs = logits.float().log_softmax(-1)
    top, tokens = logprobs.topk(k, dim=-1)
    others = logprobs.scatter(-1, tokens, -torch.inf)
    finite = others.masked_fill(others.isinf(), 0.0)
    tails, moments = [], []
    for temperature in TEMPERATURES:
        powers = (others / temperature).exp()  # of probabilities, so nothing overflows
        tails.append(powers.sum(-1).log())
        moments.append(torch.einsum("pv,pv->p", powers, finite))
    return {
        "tokens": tokens.int(),
        "logprobs": top,
        "tails": torch.stack(tails, dim=-1),
        "moments": torch.stack(moments, dim=-1),
    }


class SoftLabels:
    """Reads a file of soft labels.

    Raises:
        UserError: It is not such a file, or it is torn.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._file = pa.ipc.open_file(pa.memory_map(str(path)))
            about: dict[str, Any] = json.loads(self._file.schema.metadata[META])
            self.places = {digest: place for place, digest in enumerate(about["rows"])}
            self.vocabulary = Vocabulary.model_validate(about["vocabulary"])
            self.temperatures = tuple(about["temperatures"])
            self.exact, count = about["form"] == "exact", len(about["rows"])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise self._torn(str(error)) from error
        if self._file.num_record_batches != count:
            raise self._torn(f"{self._file.num_record_batches} of {count} rows")

    def _torn(self, reason: str) -> UserError:
        return UserError(
            f"not a whole file of soft labels: {reason}",
            file=self.path,
            remedy="Delete the file and run the workflow again",
        )

    def check_student(self, student: Manifest) -> None:
        """Refuse a student to whom the labels would mean other tokens.

        Raises:
            UserError: The vocabulary is not that of the mentor.
        """
        if difference := self.vocabulary.difference(student.vocabulary):
            problem = f"the mentor of these soft labels has another vocabulary than {student.name}: {difference}"
            raise UserError(problem, file=self.path, remedy=ONE_FAMILY)

    def rows_of(self, examples: Iterable[Example]) -> list[int]:
        """The places of rows in the file.

        Raises:
            UserError: A row is not among them.
        """
        found = [self.places.get(row_digest(example), NO_ROW) for example in examples]
        if NO_ROW in found:
            raise UserError(
                f"{found.count(NO_ROW)} of {len(found)} training rows have no soft labels: the file is of other rows, "
                "or the student's tokenizer cuts them otherwise than the mentor's",
                file=self.path,
                remedy="Run the workflow again; if it stays so, write `soft_labels: online`",
            )
        return found

    def at(self, rows: Tensor, labels: Tensor) -> Tensor | TopK:
        """The mentor's distributions at the positions with loss of a batch, on the device of its labels.

        Args:
            rows: Place of each row in the file, (batch,).
            labels: Aligned, (batch, tokens); rows in which no position carries loss have no labels here either.

        Returns:
            Logits (positions, vocabulary), or `TopK`; rows in reading order.
        """
        wanted = (labels != IGNORE).sum(dim=1).tolist()
        parts: dict[str, list[np.ndarray]] = {
            field.name: [np.empty((0, field.type.list_size), field.type.value_type.to_pandas_dtype())]
            for field in self._file.schema
        }
        for place, positions in zip(rows.tolist(), wanted, strict=True):
            if not positions:
                continue
            batch = self._file.get_batch(place)
            if batch.num_rows != positions:
                raise ValueError(f"row {place} has {positions} positions with loss, its labels {batch.num_rows}")
            for name, chunks in parts.items():
                chunks.append(_values(batch.column(name)))
        tensors = {name: torch.from_numpy(np.concatenate(chunks)).to(labels.device) for name, chunks in parts.items()}
        if self.exact:
            return tensors["logits"]
        return TopK(tensors["tokens"].long(), tensors["logprobs"], tensors["tails"], self.temperatures)


class WithRows:
    """A collator that also gives the places of the rows' soft labels, (rows,), where the features have them."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Tensor]:
        places = [place for feature in features for place in feature[ROWS]]
        return {**self.collate(features), ROWS: torch.tensor(places)}


def _values(column: pa.Array) -> np.ndarray:
    """A column of lists as an array (positions, width), without a copy."""
    return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), -1)
