# Made by tools/stubs.py from zc.async; change that, not this.
