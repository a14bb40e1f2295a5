"""Trials with real processes that are killed, stopped and cut off: see README.rst."""
