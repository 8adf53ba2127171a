"""Verification: is a completion right?

graders/    the final answer of a text against the gold answer, by kind of answer
judge       verdicts on texts and on programs
verify      the stage: a verdict of every grader on every completion
gold_check  gold answers pass their own graders, before the first request to a model
"""
