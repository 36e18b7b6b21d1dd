"""The emitters run in environments of their own: `record.py`."""

collect_ignore = ["agents"]
