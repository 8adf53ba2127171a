"""Tasks: where questions come from, and the checks that they must pass before a model sees them.

sources      rows of a task: generated, from the Hub, from files
hub_rows     rows of a data set on the Hub, from the files of its pinned commit
generators/  the project's own seeded generators
questions    rows -> Questions and Exemplars, checked (`build_task`), and their summary (`summarise`)
"""
