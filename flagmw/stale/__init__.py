"""Flags that may go: where they are read, which branch can no longer run, and which code dies with it.

`files` lists a code base, `sites` finds where flags are read, `judging` says how each flag is doing, `removal` says what
goes with one. Everything here reads source files and the usage store; nothing runs in a web worker. The guiding rule: no
claim is better than a wrong one.
"""
