"""Evaluation: scores with intervals, tables, figures.

score          predictions against gold, counted
intervals      95 % intervals of accuracies and differences
tables         the table of one experiment
table_formats  a table as Markdown, CSV, Parquet and HTML
figures        a table as a figure
output_space   how the outputs of arms differ
"""
