"""Random numbers that are no two processes' the same.

The system's: a generator of Python's is copied by a fork, and uWSGI forks without Python's seeding it anew.
"""

from __future__ import annotations

from random import SystemRandom

chance = SystemRandom().random
"""Gives a number in [0, 1)."""
