"""Sampling: requests to models, answered by the completion store or by an engine.

requests           one model call, and the key under which its completion is kept
sampler            every question to a model, through the store
store              what models wrote
store_maintenance  statistics, verification, slices, garbage collection
budget             what one run may spend
logprobs           log-probabilities beside texts, as the store keeps them
backends           vLLM, transformers, endpoints
"""
