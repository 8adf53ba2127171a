"""Wiring: which files and parameters the jobs of the workflow have, as plain functions of (workspace, wildcards).

The rules of `workflow/rules` bind these functions to Snakemake and decide nothing themselves. `wildcards` is anything
that has the wildcards of a rule as attributes.

paths             every path pattern, for rules and functions alike
source_inputs     tasks, base models and samplers: what they are made from
training_inputs   rows, mentor, and the model that training starts from
prediction_inputs which model answers, how, and which predictions are scored
committee_inputs  teachers and reviewers of a student's mistakes
table_cells       the cells of a table, its files and its audits
"""
