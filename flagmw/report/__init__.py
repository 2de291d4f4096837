"""The usage report: functions and flags together, for a terminal, a browser, or a program."""
