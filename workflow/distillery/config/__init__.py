"""The declarative files of a workflow: what may stand in them, and whether they fit together.

    config.yaml      Settings     which experiments, defaults of a run
    setups.yaml       Setup         who plays teacher and mentor
    models.yaml      Model        where weights come from
    tasks/*.yaml     Task         questions, gold answers, graders, exemplars
    prompts/*.yaml   Prompt       how a question becomes model input, and an answer a target
    samplers/*.yaml  Sampler      model + prompt + decoding
    recipes/*.yaml   Recipe       a method: rows, objective, training, prediction
    experiments/*.yaml Experiment  one table: tasks x arms x students x seeds

`load.load_workspace` reads and cross-checks all of them before a single job runs.
"""
