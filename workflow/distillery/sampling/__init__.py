"""Sampling: requests to models, answered by the completion store or by an engine.

requests           one model call, and the key under which its completion is kept
sampler            questions in, completions out, through the store
store              completions on disk or in object storage
store_maintenance  statistics, verification, garbage collection
slices             parts of a store, given away and taken in (`slice_checks`, `unit_checks`)
budget             what one run may spend
logprobs           log-probabilities beside texts, as the store keeps them
backends           vLLM, transformers, endpoints
"""
