"""Evaluation: scores with intervals, tables, figures.

score          predictions against gold, counted
outcomes       which outcomes are counted together, in percent
intervals      95 % intervals of accuracies and differences
tables         the table of one experiment
table_formats  a table as Markdown, CSV, Parquet and HTML
figures        a table as a figure
output_space   differences between the outputs of arms
"""
