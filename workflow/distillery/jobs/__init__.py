"""Jobs: run one job of the graph: its key, the artifact cache, locks, GPUs and the provenance record.

job               a stage with named inputs, outputs and parameters, and its key
runner            restore from the cache, or compute, record and keep
cache             what jobs made, by key
code_digest       which definitions a stage reaches, as one digest
definitions       what one file defines, and what each definition refers to
definition_forms  a definition without what changes no result
bindings          which names statements bind
import_effects    which statements do something when a module is imported
analyses          analyses of files, kept
provenance        where an output comes from
gpus              which GPU a job takes, and that it computes there
nvml              which GPUs the machine has
claims, locks     names and files that a process holds as long as it lives
"""
