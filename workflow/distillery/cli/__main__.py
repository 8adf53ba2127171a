"""`python -m distillery.cli`."""

from distillery.cli import main

main()
