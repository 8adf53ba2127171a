"""A plugin of pytest for `tool.py`: each test starts with empty caches of functions.

A mutant is tried against the tests that call its function. A test that finds the function's answer in a cache does not
call it, although it would see what the mutant puts there.
"""

import sys

import pytest


@pytest.fixture(autouse=True)
def fresh_caches() -> None:
    """Empty every `lru_cache` of the library."""
    modules = [module for name, module in sys.modules.items() if name.startswith("distillery")]
    for value in [value for module in modules for value in list(vars(module).values())]:
        if callable(getattr(value, "cache_clear", None)):
            value.cache_clear()
