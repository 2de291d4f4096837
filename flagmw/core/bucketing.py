"""Places keys on a rollout scale with MurmurHash3. The only file that imports mmh3.

Source: the flagd rule reference, "fractional"; vectors `hashes` and `fractional_*`.
"""

from __future__ import annotations

from collections.abc import Sequence

import mmh3

HASH_SPAN = 1 << 32


murmur3_32 = mmh3.mmh3_32_uintdigest
"""Hashes bytes with MurmurHash3 (x86, 32-bit, seed 0) to an integer from 0 to 2**32 - 1.

Encode texts yourself: mmh3's functions for texts end the process by a segmentation fault when one holds a lone surrogate
(5.3.1), while `str.encode` raises.
"""

murmur3_32_signed = mmh3.mmh3_32_sintdigest
"""Hashes bytes with MurmurHash3 (x86, 32-bit) and a seed from 0 to 2**32 - 1 to an integer from -2**31 to 2**31 - 1."""


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
