"""Real servers, each brought to an end in every way it can be, and what becomes of the events of what they answered.

    python -m tests.e2e.matrix --help

`servers` says which servers, `exits` how they end, `drill` does it, `served` is what runs in them.
"""
