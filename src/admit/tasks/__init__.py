"""The operator's own Python: which tasks there are, the processes that run them, and what became of each run.

What operators import is `admit.task`. Deciding who may come in belongs to `enrollment`, which may ask a task.
"""
