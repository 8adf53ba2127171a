"""Training: rows in, student out.

compose      which completions become training rows
sources/     where training rows come from
objectives/  the losses with their settings and needs
losses       pieces of losses, as pure functions
units        rows, or the pairs of two tasks, as an update counts them
batches      order of the rows, padding
checkpoints  partial progress that survives a kill
held_out     rows that are not trained on, and the loss on them
trainers     TRL's and transformers' trainers with our objectives
job          what a training is: its settings, and options of the machine
student      student and mentor as torch modules, adapters
arguments    what the recipe's `train` means to the trainers
train        the stage: rows and a base model in, a model folder and a summary out
summary      what a training did
"""
