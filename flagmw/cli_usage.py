"""`flagmw usage`: the report, the check for CI, and the scan by itself."""
