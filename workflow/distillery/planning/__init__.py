"""Planning: looks ahead and back over the graph, without running anything.

wiring           which file feeds which job
snakemake_graph  the jobs, as Snakemake sees them now
forecast         which jobs the caches answer, which are computed
stages           what planning knows of each stage
dry_run          what the stages will request of models, counted by their own functions
expected         counts that depend on texts to come: expectations in place of bounds
rates, shipped   what jobs have cost on this machine, and the measurements that come with the package
estimates        samples, tokens, seconds and money of a job
staleness        why a result is stale
accept           keep a result under its new key, on record
references       what current results need of store and cache
lineage          the requests and texts about one question
"""
