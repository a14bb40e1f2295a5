# Made by tools/stubs.py from zc.async; change that, not this.
from .log import events as log
from .log import trace as tracelog
def custom_repr(obj): ...
