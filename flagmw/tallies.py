"""Counts how often each flag was evaluated to what. Taking a count never waits and takes no lock."""
