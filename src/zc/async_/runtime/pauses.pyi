# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
SOON: float
LIMIT: int
AWAY: int
CROWD: int
class Stopped(Exception): ...
class Pauses:
    def __init__(self, pause, first=..., limit=...) -> None: ...
    def wait(self): ...
    _pause: Any
    _next: Any
    _limit: Any
