"""`python -m distillery.cli`."""

from distillery.cli import app

app()
