"""Peer review: a student's mistakes go to several teachers, who answer, give feedback and score each other.

mistakes        which of the student's answers are mistakes
ask             requests to teachers and reviewers, through the completion store
assignments     which reviewer scores which rationale
scores          the score in a reviewer's reply, or the reason why there is none
human_sheets    a human reviewer: a sheet out, scores in
acceptance      which rationales are accepted, a pure function of stored reviews
calibration     lenient and strict reviewers on one scale
audit           agreement of the reviewers with each other and with the answer check
audit_pages     the audit as Markdown and HTML
training_pairs  training rows: one feedback row and one rationale row per mistake
released        MAPD's released exchange, read as these records
records         the records of these stages

Replies are completions like all others, so a sweep over thresholds needs no model.

Source: MAPD / FAIR (arXiv 2410.03663); public code zhuochunli/Learn-from-Committee.
"""
