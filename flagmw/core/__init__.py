"""Pure computing: compiled flags, snapshots, operators, bucketing. No network, threads, clock or logs."""
