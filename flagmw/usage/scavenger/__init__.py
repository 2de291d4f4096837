"""Speaks to a Scavenger collector: bootstrap over HTTP, publications over gRPC, the schedule that it gives."""
