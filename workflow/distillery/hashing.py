"""The one form in which plain values are hashed, and random-looking draws that follow from a hash.

Equal values are equal bytes. A draw depends on a seed and on what is drawn: no generator is advanced, so adding,
dropping or reordering other things changes no draw. The smallest key is drawn first.
"""

import hashlib
import json


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces to spare and text as UTF-8: the form of every record and of every digest."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def digest_of(value: object) -> str:
    """Hex digest, 32 digits, of a plain value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def draw_key(seed: int, *what: object) -> str:
    """Sort key of one thing, as if the order were random: uniform over seeds, equal on every machine."""
    return hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).hexdigest()
