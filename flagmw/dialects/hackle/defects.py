"""What is wrong with a definition, found when an evaluation gets there."""

from __future__ import annotations


class Defect(Exception):
    """The definitions contradict each other; the evaluation is an EXCEPTION. The message holds nothing of the user."""
