# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
class Room:
    def __init__(self, db) -> None: ...
    def make(self, connections): ...
    _db: Any
    _added: Any
