"""Batched generation with transformers: for encoder-decoder models, and where vLLM is absent.

Prompts are sorted by length, so that a batch carries little padding; decoders are padded on the left with a mask.
Sampling is seeded per batch from the seeds of its requests: the same requests give the same completions again, but a
request's sample may differ when the batch around it does (vLLM's does not). The store keeps the first.

The decoder of an encoder-decoder starts from what the model has written already. Requests of a batch have starts of
equal length in tokens: padding would move the positions of models that count them from the left.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    StoppingCriteriaList,
    StopStringCriteria,
)

from distillery.jobs.gpus import torch_device
from distillery.models.tokenization import padding_tokenizer, target_start
from distillery.sampling.backends.base import Backend, Generated, PendingRequest
from distillery.sampling.logprobs import encode_choice, encode_scored, single_tokens, tail_of
from distillery.sampling.requests import Series


class TransformersBackend(Backend):
    """A model loaded with transformers, on the GPU where there is one."""

    def __init__(self, folder: Path, architecture: str) -> None:
        loader = AutoModelForCausalLM if architecture == "causal" else AutoModelForSeq2SeqLM
        self._causal = architecture == "causal"
        self._device = torch_device()
        self._tokenizer = padding_tokenizer(folder, padding_side="left" if self._causal else "right")
        self._model = loader.from_pretrained(folder, dtype="auto").to(self._device).eval()
        self._model.generation_config = _token_ids_alone(self._model.generation_config)

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]:
        size = int(os.environ.get("DISTILLERY_GENERATION_BATCH", "32"))
        answer = self._choices if series.choice else self._batch
        begun = {pending.key: len(self._begun(pending)) for pending in requests}
        ordered = sorted(requests, key=lambda pending: (begun[pending.key], len(pending.request.prompt), pending.key))
        for _, group in groupby(ordered, key=lambda pending: begun[pending.key]):
            alike = list(group)
            for start in range(0, len(alike), size):
                yield from answer(alike[start : start + size], series)

    def _begun(self, pending_request: PendingRequest) -> list[int]:
        """Token ids that the decoder continues from, as in training; empty if the model starts its decoder itself."""
        if self._causal or not pending_request.request.written:
            return []
        tokenizer, written = self._tokenizer, pending_request.request.written
        start = self._model.config.decoder_start_token_id
        return [start, *target_start(tokenizer), *tokenizer(written, add_special_tokens=False)["input_ids"]]

    @torch.inference_mode()
    def _choices(self, requests: Sequence[PendingRequest], series: Series) -> list[Generated]:
        """Each choice is scored as the next token: no text is generated."""
        tokenizer = self._tokenizer
        tokens = single_tokens({text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in series.choice})
        special = requests[0].request.special_tokens
        inputs = tokenizer(
            [pending.request.prompt for pending in requests],
            padding=True,
            add_special_tokens=special,
            return_tensors="pt",
        ).to(self._device)
        given = {name: tensor for name, tensor in inputs.items() if name in {"input_ids", "attention_mask"}}
        if self._causal:
            given["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        else:
            start = self._model.config.decoder_start_token_id
            given["decoder_input_ids"] = torch.full((len(requests), 1), start, device=self._device)
        shares = self._model(**given).logits[:, -1].float().log_softmax(-1)
        return [
            Generated(
                key=pending.key,
                text=encode_choice({text: float(row[token]) for text, token in tokens.items()}),
                finish_reason="stop",
                prompt_tokens=int(mask.sum()),
                completion_tokens=1,
            )
            for pending, mask, row in zip(requests, inputs["attention_mask"], shares, strict=True)
        ]

    @torch.inference_mode()
    def _batch(self, requests: Sequence[PendingRequest], series: Series) -> list[Generated]:
        special = requests[0].request.special_tokens
        inputs = self._tokenizer(
            [pending.request.prompt for pending in requests],
            padding=True,
            add_special_tokens=special,
            return_tensors="pt",
        ).to(self._device)
        given = {name: tensor for name, tensor in inputs.items() if name in {"input_ids", "attention_mask"}}
        begun = [self._begun(pending) for pending in requests]
        if begun[0]:
            given["decoder_input_ids"] = torch.tensor(begun, device=self._device)
        torch.manual_seed(requests[0].seed)
        sampled = series.temperature > 0
        filters = {"temperature": series.temperature, "top_p": series.top_p, "top_k": series.top_k} if sampled else {}
        stopping = StoppingCriteriaList()
        if series.stop:
            stopping.append(StopStringCriteria(self._tokenizer, list(series.stop)))
        generated = self._model.generate(
            **given,
            do_sample=sampled,
            max_new_tokens=series.max_new_tokens,
            pad_token_id=self._tokenizer.pad_token_id,
            stopping_criteria=stopping,
            return_dict_in_generate=True,
            output_logits=series.scored,
            **filters,
        )
        output, logits = generated.sequences, generated.logits
        # Causal models repeat the prompt, decoders what they started from: at least a start token.
        skip = inputs["input_ids"].shape[1] if self._causal else max(1, len(begun[0]))
        likely = _log_probabilities(logits, output[:, skip:]) if series.scored else [None] * len(requests)
        return [
            self._completion(pending, mask, tokens[skip:], series, each)
            for pending, mask, tokens, each in zip(requests, inputs["attention_mask"], output, likely, strict=True)
        ]

    def _completion(
        self,
        pending_request: PendingRequest,
        mask: torch.Tensor,
        tokens: torch.Tensor,
        series: Series,
        likely: torch.Tensor | None,
    ) -> Generated:
        ids = tokens.tolist()
        ends = {self._tokenizer.eos_token_id, self._tokenizer.pad_token_id}
        length = next((place for place, token in enumerate(ids) if token in ends), None)
        written = ids if length is None else ids[:length]
        text = self._tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        cuts = [text.find(stop) for stop in series.stop if stop in text]
        stopped = length is not None or bool(cuts)
        whole, text = text, text[: min(cuts)] if cuts else text
        # What follows a stop text in a batch is padding, which may be the stop token: it was not generated.
        generated = len(written) + (length is not None and not cuts)
        if likely is not None:
            likelihood = float(likely[:generated].sum())
            text = encode_scored(text, likelihood, tail_of(whole, text, series.stop))
        return Generated(
            key=pending_request.key,
            text=text,
            finish_reason="stop" if stopped else "length",
            prompt_tokens=int(mask.sum()),
            completion_tokens=generated,
        )


def _token_ids_alone(config: GenerationConfig) -> GenerationConfig:
    """A generation config with its special tokens and nothing else.

    Many models bring penalties, filters and limits of their own. `generate` would apply them beside the decoding
    section, and vLLM does not.
    """
    given = config.to_diff_dict()
    return GenerationConfig(**{name: value for name, value in given.items() if name.endswith("_token_id")})


def _log_probabilities(logits: Sequence[torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability of each written token, (requests, tokens)."""
    shares = torch.stack(list(logits), dim=1).float().log_softmax(-1)
    return shares.gather(-1, tokens[:, : shares.shape[1]].unsqueeze(-1)).squeeze(-1)
