"""Training: fit a student, or a mentor, to training rows.

batches      order of the rows, padding
units        rows, or the pairs of two tasks, as an update counts them
checkpoints  partial progress that survives a kill
trainers     TRL's and transformers' trainers with our objectives
run          the stage: rows in, model folder out
"""

from distillery.training.run import TrainSummary, train_model

__all__ = ["TrainSummary", "train_model"]
