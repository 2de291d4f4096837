"""Threads, forks and exits. Nothing else in flagmw starts a thread or registers a hook."""
