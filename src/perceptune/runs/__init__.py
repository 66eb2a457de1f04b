"""One run: a training, or several in one, with its record and its results.

Read `run` first, then `training`, `loop` and `results`.
"""
