# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
SHORT: float
_AGAIN: int
_WEIGHT: Any
_FIRST: int
class Pace:
    def __init__(self) -> None: ...
    @property
    def short(self): ...
    def note(self, seconds, alone): ...
    def _judge(self, seconds): ...
    _first: list[Any]
    _typical: Any
    _since: Any
