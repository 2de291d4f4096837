"""Publishing to a Scavenger collector, in the collector's own words and by its own rules.

`publisher` is the publisher that the agent runs; `schedule` says when what is due, `messages` what travels, `grpc` how.
"""
