"""Joins a client with a usage agent: what adapters do when they are asked to watch usage."""
