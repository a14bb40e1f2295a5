"""A simulation of many workers on one database; see ``bench/simulate.py``."""
