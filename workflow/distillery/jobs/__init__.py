"""Jobs: run one job of the graph: its key, the artifact cache, locks, GPUs and the provenance record.

job           a stage with named inputs, outputs and parameters, and its key
runner        restore from the cache, or compute, record and keep
cache         what jobs made, by key
code_digest   what code a stage runs, as one digest
provenance    where an output comes from
gpus, locks   which GPU a job takes; locks that die with their owner
"""
