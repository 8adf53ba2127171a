"""Draws: random-looking choices that depend on a seed and on what is drawn, on nothing else.

No generator is advanced, so adding, dropping or reordering other things changes no draw: the smallest key wins.
"""

import hashlib


def draw_key(seed: int, *what: object) -> str:
    """Sort key of one thing, as if the order were random: uniform over seeds, equal on every machine."""
    return hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).hexdigest()
