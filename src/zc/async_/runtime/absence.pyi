# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
TIMES: int
class Absence:
    def __init__(self, db, pause) -> None: ...
    def judge(self, error): ...
    def wait(self, error, delay): ...
    _db: Any
    _pause: Any
    _times: int
