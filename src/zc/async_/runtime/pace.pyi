# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
SHORT: float
MOST: int
_AGAIN: int
_WEIGHT: Any
_FIRST: int
class Pace:
    def __init__(self, limit) -> None: ...
    @property
    def multiple(self): ...
    @property
    def short(self): ...
    def note(self, seconds, alone): ...
    def _judge(self, seconds): ...
    _limit: Any
    _first: list[Any]
    _typical: Any
    _since: Any
