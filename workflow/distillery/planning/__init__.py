"""Planning: looks ahead and back over the graph, without running anything.

wiring           which file feeds which job
snakemake_graph  the jobs, as Snakemake sees them now
forecast         which jobs the caches answer, which are computed
dry_run          what the stages will ask of models, counted by their own functions
estimates        samples, tokens, seconds and money
staleness        why a result is stale
accept           keep a result under its new key, on record
references       what current results need of store and cache
lineage          what was asked and written for one question
"""
