"""Training: rows in, student out.

compose      which completions become training rows
objectives   the losses
units        rows, or the pairs of two tasks, as an update counts them
batches      order of the rows, padding
checkpoints  partial progress that survives a kill
held_out     rows that are not trained on, and the loss on them
trainers     TRL's and transformers' trainers with our objectives
train        the stage: rows and a base model in, a model folder and a summary out
summary      what a training did
"""
