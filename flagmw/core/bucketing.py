"""Places keys on a rollout scale with MurmurHash3. The only file that imports mmh3.

Source: the flagd rule reference, "fractional"; vectors `hashes` and `fractional_*`.
"""

from __future__ import annotations

from collections.abc import Sequence

import mmh3

HASH_SPAN = 1 << 32


def murmur3_32(data: str | bytes) -> int:
    """Hash with MurmurHash3 (x86, 32-bit, seed 0).

    Args:
        data: a text stands for its UTF-8 bytes.

    Returns:
        An integer from 0 to 2**32 - 1.

    Raises:
        UnicodeEncodeError: the text holds a lone surrogate.
    """
    # mmh3 takes texts too, and ends the process by a segmentation fault when one holds a lone surrogate (5.3.1).
    return mmh3.mmh3_32_uintdigest(data.encode() if data.__class__ is str else data)


def bucket_bounds(weights: Sequence[int]) -> list[int]:
    """Turn weights into upper bounds of hashes, so that choosing a bucket is one bisection.

    Bucket i has the hashes below `bounds[i]` that no earlier bucket has. This is
    `floor(hash * total / 2**32) < running total`, solved for the hash.

    Args:
        weights: at least one, none negative, with a sum above 0.
    """
    total = sum(weights)
    running = 0
    bounds = []
    for weight in weights:
        running += weight
        bounds.append(-(-running * HASH_SPAN // total))
    return bounds
