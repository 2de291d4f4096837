"""Flags that may go: where they are read, which branch can no longer run, and which code dies with it."""
