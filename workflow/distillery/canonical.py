"""The one form in which plain values are written and hashed: equal values are equal bytes."""

import hashlib
import json


def canonical_json(value: object) -> str:
    """JSON with sorted keys, no spaces to spare and text as UTF-8: the form of every record and of every digest."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "), allow_nan=False)


def digest_of(value: object) -> str:
    """Hex digest, 32 digits, of a plain value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]
