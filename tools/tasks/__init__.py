"""The tasks of ``tools/eval_robust.py``: one file a task."""
