"""Backends: requests in, completions out, each as soon as it is finished.

    vllm          the default wherever vLLM is installed, on GPU and on CPU
    transformers  encoder-decoder models, which vLLM does not serve; and machines without vLLM
    api           models behind an endpoint

Which one runs is a fact of the machine (environment variable DISTILLERY_BACKEND: auto, vllm or transformers), so it
never enters a parameter or a key.
"""
