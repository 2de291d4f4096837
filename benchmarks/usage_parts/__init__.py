"""The parts of `benchmarks/usage.py`, one file each; `*_inside.py` run in processes of their own, some in two Pythons."""
