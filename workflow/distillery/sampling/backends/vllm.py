"""vLLM's offline engine in the job's own process, on GPU and on CPU.

All requests are added at once, and completions come back as they finish. The engine is loaded at the first call, when
the longest prompt is known: its context and cache are no larger than the job needs.
"""

import functools
import gc
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distillery.errors import UserError
from distillery.jobs.gpus import torch_device
from distillery.models.tokenization import encode_prompt
from distillery.sampling.backends.base import Backend, Generated, PendingRequest
from distillery.sampling.logprobs import encode_choice, encode_scored, single_tokens, tail_of
from distillery.sampling.requests import Series

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # worker processes cost 14 s at start and a main guard
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

CPU_CACHE_GIB = 1
HIGHEST_TEMPERATURE = 2.0
"""vLLM refuses more."""


@functools.cache
def import_libraries() -> None:
    """Import what an engine needs while Python's garbage collector is off, and exempt it from later collections.

    The libraries make a million objects that stay. Walking through them again and again took a quarter of the processor
    time from the start of a job to its ready engine.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        import transformers
        import vllm

        for module, names in ((transformers, ("AutoConfig", "AutoTokenizer")), (vllm, ("LLMEngine", "SamplingParams"))):
            for name in names:
                getattr(module, name)  # both import when a name is looked up
    finally:
        gc.freeze()
        if collects:
            gc.enable()


class VllmBackend(Backend):
    """An engine for one model folder; it grows its context when a later call needs more."""

    def __init__(self, folder: Path) -> None:
        import_libraries()
        from transformers import AutoConfig, AutoTokenizer

        self._folder = folder
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._context = _context(AutoConfig.from_pretrained(folder))
        self._engine: Any = None
        self._room = 0

    def generate(self, requests: Sequence[PendingRequest], series: Series) -> Iterator[Generated]:
        if series.temperature > HIGHEST_TEMPERATURE:
            raise UserError(
                f"vLLM samples at temperatures up to {HIGHEST_TEMPERATURE:g}",
                key="decoding.temperature",
                value=series.temperature,
                remedy="Lower it, or set DISTILLERY_BACKEND=transformers",
            )
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        choices = single_tokens(
            {text: encode_prompt(self._tokenizer, text, special_tokens=False) for text in series.choice}
        )
        constraint: dict[str, Any] = {}
        if choices:
            # Log-probabilities are requested by token: builds differ in which others they report (before or after the
            # constraint), and the choices are only compared with each other.
            constraint = {
                "structured_outputs": StructuredOutputsParams(choice=list(choices)),
                "logprob_token_ids": list(choices.values()),
            }
        prompts = [
            encode_prompt(self._tokenizer, pending.request.prompt, special_tokens=pending.request.special_tokens)
            for pending in requests
        ]
        self._make_room(max(map(len, prompts)) + series.max_new_tokens)
        for pending, token_ids in zip(requests, prompts, strict=True):
            parameters = SamplingParams(
                temperature=series.temperature,
                top_p=series.top_p,
                top_k=series.top_k,
                max_tokens=series.max_new_tokens,
                stop=list(series.stop),
                seed=pending.seed if series.temperature > 0 else None,
                output_kind=RequestOutputKind.FINAL_ONLY,
                logprobs=0 if series.scored else None,
                **constraint,
            )
            self._engine.add_request(pending.key, {"prompt_token_ids": token_ids}, parameters)
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    completion = output.outputs[0]
                    text = completion.text
                    if choices:
                        given = completion.logprobs[0]
                        text = encode_choice(
                            {name: given[token].logprob for name, token in choices.items() if token in given}
                        )
                    elif series.scored:
                        written = self._tokenizer.decode(
                            completion.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
                        )
                        tail = tail_of(written, text, series.stop)
                        text = encode_scored(text, completion.cumulative_logprob, tail)
                    yield Generated(
                        key=output.request_id,
                        text=text,
                        finish_reason="length" if completion.finish_reason == "length" and not choices else "stop",
                        prompt_tokens=len(output.prompt_token_ids),
                        completion_tokens=len(completion.token_ids),
                    )

    def _make_room(self, tokens: int) -> None:
        if tokens <= self._room:
            return
        if tokens > self._context:
            raise UserError(
                f"the longest prompt and its completion need {tokens} tokens and the model has {self._context}",
                file=self._folder,
                remedy="Show fewer exemplars, or lower max_new_tokens",
            )
        import torch
        from vllm import EngineArgs, LLMEngine

        device = torch_device()
        together = int(os.environ.get("DISTILLERY_TENSOR_PARALLEL", "1"))
        if device == "cuda" and together > torch.cuda.device_count():
            raise UserError(
                f"the job has {torch.cuda.device_count()} GPUs",
                key="DISTILLERY_TENSOR_PARALLEL",
                value=together,
                remedy=f"Give its rule as many: `--set-resources <rule>:gpu={together}`",
            )
        if device == "cpu":
            os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(CPU_CACHE_GIB))
            if torch.get_num_threads() < (os.cpu_count() or 1):
                # A job with fewer threads than the machine has cores shares it: the system places them.
                os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        self._engine = None
        self._room = min(self._context, -(-tokens // 256) * 256)
        arguments: dict[str, Any] = {
            "model": str(self._folder),
            "max_model_len": self._room,
            "max_num_batched_tokens": max(self._room, 4096),
            "enable_prefix_caching": True,
            "enable_chunked_prefill": False,  # in chunks, seeded requests crash the CPU engine
            "seed": 0,
            "tensor_parallel_size": together,
            "trust_remote_code": False,
            "disable_log_stats": True,
        }
        if device == "cpu":
            arguments["enforce_eager"] = True  # compiling takes longer than most CPU jobs
        if "DISTILLERY_GPU_MEMORY" in os.environ:
            arguments["gpu_memory_utilization"] = float(os.environ["DISTILLERY_GPU_MEMORY"])
        self._engine = LLMEngine.from_engine_args(EngineArgs(**arguments))


def _context(config: Any) -> int:
    """Longest sequence of a model, in tokens."""
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1 << 20)
