"""Models: a model folder, where it comes from and what it is.

sources            every source of weights becomes a folder with config, tokenizer and safetensors
weights            the files of a folder: whole, readable, consistent with each other
checks             weights and tokenizer against the configuration
manifest           a small file that says exactly which weights a folder holds
tiny               random models for tests of the graph
tokenization       prompts and targets as token ids, shared by sampling and training
static_embeddings  texts as vectors, without a deep-learning library
"""
