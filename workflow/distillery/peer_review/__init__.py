"""Peer review: a student's mistakes go to several teachers, who answer, give feedback and score each other.

exam         mistakes, out of the graded completions of the student's exam
routing      what there is to review, and by whom
scores       a score out of a reviewer's reply, or none with a reason
sheets       a human reviewer: a sheet out, scores in
acceptance   which rationales are accepted, a pure function of stored reviews
calibration  lenient and strict reviewers on one scale
audit        how far the reviewers can be trusted
pairs        training rows: one feedback row and one rationale row per mistake
records      what these hand to each other

Source: MAPD / FAIR (arXiv 2410.03663); public code zhuochunli/Learn-from-Committee. Nothing here asks a
model: replies are completions like all others, so a sweep over thresholds never asks one again.
"""
