"""Keeps the counts of flag evaluations in the usage store, and reads them back."""
