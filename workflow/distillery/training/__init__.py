"""Training: fit a student, or a mentor, to training rows.

batches      order of the rows, padding
units        rows, or the pairs of two tasks, as an update counts them
checkpoints  partial progress that survives a kill
held_out     rows that are not trained on, and the loss on them
trainers     TRL's and transformers' trainers with our objectives
summary      what a training did
run          the stage: rows in, model folder out
"""

from distillery.training.run import train_model
from distillery.training.summary import TrainSummary

__all__ = ["TrainSummary", "train_model"]
