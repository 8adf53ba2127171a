# ruff: noqa: E501  (a slip is one line where it can be)
"""Slips put in by hand: each changes one short text of one file, and some test file should notice it.

A slip is what a tired author might write: a lost seed, the neighbour's value, the first instead of the drawn. `old` must
stand exactly once in its file; `run.py` refuses a slip whose text is gone or stands twice.
"""

from typing import NamedTuple

from wiring_slips import WIRING_SLIPS

LIBRARY = "workflow/distillery/"


class Slip(NamedTuple):
    """One change. `tests` are the files that should notice it, without `tests/unit/` and `.py`, and pytest's options."""

    kind: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def test_files(self) -> list[str]:
        return [f"tests/unit/{name}.py" for name in self.tests.split() if name[0] != "-"]

    @property
    def pytest_arguments(self) -> list[str]:
        return [*self.test_files, *(name for name in self.tests.split() if name[0] == "-")]


SLIPS = [
    # Seeds and draws
    Slip("seeds", "sampling/requests.py", 'seed=0 if greedy else int(decoding["seed"])', "seed=0", "sampling/test_store"),
    Slip("seeds", "sampling/requests.py", "int(key[:8], 16)", "int(key[:4], 16)", "sampling/test_store"),
    Slip("seeds", "sampling/backends/transformers.py", "torch.manual_seed(requests[0].seed)", "torch.manual_seed(0)",
         "sampling/test_settings_decoding"),
    Slip("seeds", "sampling/backends/vllm.py", "seed=pending.seed if", "seed=series.seed if",
         "sampling/test_settings_decoding -kvllm"),
    Slip("seeds", "sampling/backends/api.py", '"top_p": series.top_p, "seed": pending.seed', '"top_p": series.top_p',
         "sampling/test_settings_decoding_api"),
    Slip("seeds", "training/sources/common.py", "draw_key(given.seed, given.name, found.qid, found.sample_index)", "found.sample_index",
         "training/test_settings_rows"),
    Slip("seeds", "training/compose.py", "math.ceil(share * len(questions))", "math.floor(share * len(questions))",
         "training/test_settings_rows"),
    Slip("seeds", "training/held_out.py", 'draw_key(0, "held out", row.qid)', 'draw_key(0, "held out", row.target)',
         "training/test_settings_train -kheld_out"),
    Slip("seeds", "training/batches.py", 'random.Random(f"{self.seed}:{epoch}")', 'random.Random(f"{self.seed}")',
         "training/test_train"),
    Slip("seeds", "peer_review/training_pairs.py", 'seed, "feedback", mistake.qid', 'seed, "rationale", mistake.qid',
         "peer_review/test_settings_review"),
    Slip("seeds", "peer_review/acceptance.py", 'draw_key(seed, "size-matched", qid)', 'draw_key(0, "size-matched", qid)',
         "peer_review/test_settings_review"),
    Slip("seeds", "peer_review/mistakes.py", 'draw_key(student_answers.seed, SALT, qid)', 'draw_key(0, SALT, qid)',
         "peer_review/test_settings_review"),
    Slip("seeds", "programs/repair_rows.py", 'draw_key(seed, f"inject {error}"', 'draw_key(0, f"inject {one}"',
         "training/test_settings_rows"),
    # What is sent to a model
    Slip("sent", "sampling/requests.py", "stop=tuple(stop),", "stop=tuple(stop[:1]),", "sampling/test_store"),
    Slip("sent", "sampling/requests.py", 'top_p=1.0 if greedy else float(decoding["top_p"])', "top_p=1.0",
         "sampling/test_store"),
    Slip("sent", "sampling/sampler.py", "% prompt.rounds], index, not prompt.chat)", "% prompt.rounds], index)",
         "sampling/test_sampler"),
    Slip("sent", "sampling/sampler.py", '"max_new_tokens": spec["decoding"]["answer_tokens"]',
         '"max_new_tokens": spec["decoding"]["max_new_tokens"]', "sampling/test_sampler"),
    Slip("sent", "tasks/prompts.py", "model_input + text + prompt.answer_cue", "model_input + text.strip() + prompt.answer_cue",
         "sampling/test_sampler"),
    Slip("sent", "sampling/sampler.py", ' and not (folder / "api.json").exists()', "", "sampling/test_sampler"),
    Slip("sent", "sampling/chat.py", "add_generation_prompt=True", "add_generation_prompt=False",
         "sampling/test_requests_as_text"),
    Slip("sent", "sampling/sampler.py", "in backend.generate(list(missing.values())[:allowed]",
         "in backend.generate(list(missing.values())", "sampling/test_sampler"),
    Slip("sent", "sampling/backends/transformers.py", "do_sample=sampled,", "do_sample=False,",
         "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/transformers.py", ', "top_k": series.top_k}', "}", "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/transformers.py", "max_new_tokens=series.max_new_tokens,",
         "max_length=series.max_new_tokens,", "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/transformers.py", 'padding_side="left" if self._causal else "right"',
         'padding_side="right"', "sampling/test_backends"),
    Slip("sent", "sampling/backends/transformers.py", "text[: min(cuts)] if cuts else text", "text", "sampling/test_backends"),
    Slip("sent", "sampling/backends/transformers.py", 'finish_reason="stop" if stopped else "length"',
         'finish_reason="stop"', "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/transformers.py", "(length is not None and not cuts)",
         "(length is not None)", "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/transformers.py",
         "self._model.generation_config = _token_ids_alone(self._model.generation_config)", "pass",
         "sampling/test_settings_decoding"),
    Slip("sent", "sampling/backends/vllm.py", "top_p=series.top_p,", "", "sampling/test_settings_decoding -kvllm"),
    Slip("sent", "sampling/backends/vllm.py", "stop=list(series.stop),", "", "sampling/test_settings_decoding -kvllm"),
    Slip("sent", "sampling/backends/vllm.py", "max_tokens=series.max_new_tokens,", "max_tokens=16,",
         "sampling/test_settings_decoding -kvllm"),
    Slip("sent", "sampling/backends/vllm.py", "special_tokens=pending.request.special_tokens", "special_tokens=True",
         "sampling/test_settings_decoding -kvllm"),
    Slip("sent", "sampling/backends/api.py", "fields[limit_field] = series.max_new_tokens", "fields[limit_field] = 256",
         "sampling/test_settings_decoding_api"),
    Slip("sent", "sampling/backends/api.py", "finish_reason=reply.finish_reason", 'finish_reason="stop"', "sampling/test_api_backend"),
    Slip("sent", "tasks/prompts.py", "block * self.prompt.exemplars : (block + 1) * self.prompt.exemplars",
         "block : block + self.prompt.exemplars", "sampling/test_sampler"),
    Slip("sent", "tasks/prompts.py", "pool = exemplars[prompt.first_exemplar :]", "pool = exemplars",
         "sampling/test_sampler"),
    Slip("sent", "tasks/prompts.py", "shown = shown[::-1]", "shown = list(shown)", "sampling/test_sampler"),
    Slip("sent", "tasks/prompts.py", " / max(1, len(exemplar.words | words))", "", "sampling/test_sampler"),
    Slip("sent", "peer_review/ask.py", '{**decoding, "temperature": 0.0, "max_new_tokens": 1}',
         '{**decoding, "max_new_tokens": 1}', "peer_review/test_settings_review"),
    Slip("sent", "peer_review/ask.py", "question.rationale or question.gold for", "question.gold for",
         "peer_review/test_settings_review"),
    Slip("sent", "peer_review/ask.py", "wrong=mistake.text.strip()", "wrong=mistake.answer",
         "sampling/test_requests_as_text"),
    # Keys, digests and the store
    Slip("keys", "sampling/requests.py", "{self.sample_index}", "{min(self.sample_index, 1)}", "sampling/test_store"),
    Slip("keys", "sampling/requests.py", "{int(self.special_tokens)}", "1", "sampling/test_store"),
    Slip("keys", "sampling/requests.py", r"{self.prompt}\0{self.written}", "{self.prompt}{self.written}",
         "sampling/test_store"),
    Slip("keys", "sampling/requests.py", 'values["scored"] = SCORED_FORMAT', 'values["scored"] = True',
         "sampling/test_store"),
    Slip("keys", "sampling/store.py", "len(self.answers) == len(self._keys) and", "self.answers and", "sampling/test_store"),
    Slip("keys", "sampling/units.py", "[:32] == stem", "[:8] == stem", "sampling/test_store"),
    Slip("keys", "sampling/store_maintenance.py", "store.put_unit(folder, table, first + number)",
         "store.put_unit(folder, table, time.time_ns())", "sampling/test_store_maintenance"),
    Slip("keys", "sampling/slices.py", "            seen.add(key)\n", "", "sampling/test_slices"),
    Slip("keys", "jobs/job.py", '"stage": stage, "inputs"', '"inputs"', "jobs/test_runner jobs/test_cache"),
    Slip("keys", "jobs/code_digest.py", '.split("+")[0].split(".")[:2]', '.split("+")[0].split(".")[:1]',
         "jobs/test_code_digest"),
    Slip("keys", "hashing.py", "sort_keys=True, ensure_ascii=False", "ensure_ascii=False",
         "sampling/test_store"),
    # Budget and prices
    Slip("costs", "sampling/budget.py", "self.spent[kind] >= limit", "self.spent[kind] > limit", "sampling/test_budget"),
    Slip("costs", "sampling/budget.py", 'int(limit - self.spent["samples"])', "int(limit)",
         "sampling/test_budget"),
    Slip("costs", "sampling/budget.py", "prompt_tokens * prices[0] + completion_tokens * prices[1]",
         "prompt_tokens * prices[1] + completion_tokens * prices[0]", "sampling/test_sampler"),
    Slip("costs", "sampling/sampler.py", "prompt_tokens + (answer.prompt_tokens if answer else 0)", "prompt_tokens",
         "sampling/test_sampler"),
    # Training
    Slip("training", "training/trainers.py", "loss = loss * self.accelerator.num_processes", "pass",
         "training/test_settings_processes"),
    Slip("training", "training/trainers.py", "mentor = self.logits(self.mentor,", "mentor = self.logits(model,",
         "training/test_settings_train -ksoft_labels"),
    Slip("training", "training/soft_labels.py", "self.places.get(row_digest(example), NO_ROW) for example in examples",
         "place for place, example in enumerate(examples)", "training/test_soft_labels -korder"),
    Slip("training", "training/soft_labels.py", "scatter(-1, tokens, -torch.inf)", "scatter(-1, tokens, 0.0)",
         "training/test_soft_labels -krest"),
    Slip("training", "training/losses.py", "scaled.scatter(-1, self.tokens, -math.inf)", "scaled",
         "training/test_soft_labels -krest"),
    Slip("training", "training/mentor_pass.py", "model.requires_grad_(False).eval()", "model.requires_grad_(False).train()",
         "training/test_settings_train -ksoft_labels"),
    Slip("training", "training/mentor_pass.py", "half = precision == \"bf16\"", "half = True",
         "training/test_settings_train -ksoft_labels"),
    Slip("training", "training/arguments.py", '"constant_with_warmup" if train.schedule == "constant" and warmup else ', "",
         "training/test_settings_train -kwarmup"),
    Slip("training", "training/student.py", "target_modules=lora.targets", 'target_modules="all-linear"',
         "training/test_settings_lora"),
    Slip("training", "training/student.py", "r=lora.rank", "r=8", "training/test_settings_lora"),
    Slip("training", "training/student.py", "lora_dropout=lora.dropout", "lora_dropout=0.0", "training/test_settings_lora"),
    Slip("training", "training/arguments.py", "max_grad_norm=train.max_grad_norm or 0.0", "max_grad_norm=1.0",
         "training/test_settings_train -kmax_grad_norm"),
    Slip("training", "training/train.py", "train.updates or train.epochs * order.steps_per_epoch()", "train.updates or train.epochs",
         "training/test_settings_train -kfull_batch"),
    Slip("training", "training/batches.py", "return -(-len(self.lengths) // self.batch_size)",
         "return len(self.lengths) // self.batch_size", "training/test_settings_train -kfull_batch"),
    Slip("training", "training/held_out.py", "range(1, times + 1)", "range(times)", "training/test_settings_train -kevaluations"),
    Slip("training", "training/objectives/mentor_kd.py", "(1 - weight) * hard + weight * soft", "weight * hard + (1 - weight) * soft",
         "training/test_settings_train -ksoft_labels"),
    Slip("training", "training/losses.py", "functional.log_softmax(mentor.float() / temperature, dim=-1)",
         "functional.log_softmax(mentor.float(), dim=-1)", "training/test_settings_train -ksoft_labels"),
    # Settings: rows, pairs, acceptance
    Slip("settings", "training/sources/common.py", "index >= source.degree", "index > source.degree",
         "training/test_settings_rows"),
    Slip("settings", "training/sources/common.py", "if v.grader == source.grader}", "}", "training/test_settings_rows"),
    Slip("settings", "programs/repair_rows.py", "drawn[: source.injections]", "drawn[:1]", "training/test_settings_rows"),
    Slip("settings", "peer_review/mistakes.py", "text[: place + len(answer)]", "text[:place]",
         "peer_review/test_settings_review"),
    Slip("settings", "peer_review/acceptance.py", "len(valid) < rule.min_reviews",
         "len(valid) <= rule.min_reviews", "peer_review/test_settings_review"),
    Slip("settings", "peer_review/acceptance.py", "weights[name] * exact[name]", "exact[name]",
         "peer_review/test_settings_review"),
    Slip("settings", "peer_review/acceptance.py", 'review.score if rule.value == "score" else review.expected',
         "review.score", "peer_review/test_settings_review"),
    Slip("settings", "peer_review/calibration.py", "2 * below + counts[score]", "2 * below",
         "peer_review/test_settings_review"),
    Slip("settings", "verification/graders/comparisons.py", "TOLERANCE = 1e-6", "TOLERANCE = 1e-3", "verification/test_settings_grader"),
    Slip("settings", "verification/graders/__init__.py", "as the delimiter is missing\", True", "as the delimiter is missing\", take_last",
         "verification/test_graders"),
    # Programs and search
    Slip("programs", "programs/matching.py", "if gold == gold.to_integral_value():", "if gold == 0:",
         "programs/test_matching"),
    Slip("programs", "programs/feedback.py", 'execution.value in ("nan", "inf", "-inf")', 'execution.value == "nan"',
         "programs/test_feedback_values"),
    Slip("programs", "programs/self_refinement.py", 'range(spec["rounds"] + 1)', 'range(spec["rounds"])',
         "programs/test_stages"),
    Slip("programs", "programs/step_search.py", '[: steps["beams"]]', '[: steps["samples"]]', "programs/test_beams"),
    Slip("programs", "programs/step_search.py", "found.values(), key=lambda beam: (-beam.rank(steps), beam.text)", "found.values(), key=lambda beam: beam.text",
         "programs/test_beams"),
    # Tables, scores, audits
    Slip("tables", "verification/verify.py", "round(covered[-1] / len(rights), 4)", "round(covered[0] / len(rights), 4)",
         "verification/test_yields"),
    Slip("tables", "evaluation/score.py", 'prediction.finish_reason == "length"', 'prediction.finish_reason != "stop"',
         "evaluation/test_cut_off"),
    Slip("tables", "evaluation/score.py", "sum(prediction.completion_tokens for prediction in graded) / asked",
         "sum(prediction.completion_tokens for prediction in graded)", "evaluation/test_score"),
    Slip("tables", "evaluation/intervals.py", "(share + spread / 2) / (1 + spread)", "share", "evaluation/test_score"),
    Slip("tables", "sampling/sampler.py", "len({(completion.qid, completion.text) for completion in completions})",
         "len({completion.text for completion in completions})", "sampling/test_sampler"),
    Slip("tables", "peer_review/audit.py", "score >= GOOD", "score > GOOD", "peer_review/test_audit_counts"),
    Slip("tables", "peer_review/audit.py", 'fmean(score for _, score in scored)', 'fmean(counts)',
         "peer_review/test_audit_counts"),
    # Wiring of scripts
    Slip("wiring", "../scripts/train.py", 'mentor.parent / "model" if mentor', 'base.parent / "model" if mentor',
         "training/test_settings_train -ksoft_labels"),
    Slip("wiring", "../scripts/soft_labels.py", 'mentor.parent / "model",', 'mentor.parent.parent / "student" / "model",',
         "training/test_soft_labels -korder"),
    Slip("wiring", "../scripts/train.py", "math.ceil(units / settings.batch_size) * settings.epochs",
         "math.ceil(units / settings.batch_size)", "training/test_settings_train -kmatch_updates"),
    Slip("wiring", "../scripts/train.py", "rows_sha256 = sha256_file(rows)", "rows_sha256 = sha256_file(base)",
         "training/test_settings_train -ksays_what_it_was"),
    Slip("wiring", "../scripts/compose_pairs.py", "decided, decide(reasoned, given, checked, rule)[0], seed",
         "decided, decided, seed", "peer_review/test_settings_review"),
    Slip("wiring", "../scripts/peer_review.py", "read_assignments(rationales, routing, verdicts, grader)",
         "read_assignments(rationales, routing, verdicts)", "peer_review/test_settings_review"),
    Slip("wiring", "../scripts/peer_review.py", 'samples=review["samples"]', "samples=1",
         "peer_review/test_settings_review"),
]  # fmt: skip

# Records of a finished run are left out: planning alone should notice, and takes seconds.
PRODUCERS = "../workflow/test_producers planning/test_wiring"
SLIPS += [
    Slip(
        "planned",
        f"../{file}",
        old,
        new,
        PRODUCERS
        + " --deselect=tests/workflow/test_producers.py::test_every_record_of_a_run_names_what_is_written_down",
    )
    for file, old, new in WIRING_SLIPS
]
