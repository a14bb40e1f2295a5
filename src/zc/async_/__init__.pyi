# Made by tools/stubs.py from zc.async; change that, not this.
from .threadlocal import local as local
