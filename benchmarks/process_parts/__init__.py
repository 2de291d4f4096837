"""The parts of `benchmarks/process.py`, one file each."""
