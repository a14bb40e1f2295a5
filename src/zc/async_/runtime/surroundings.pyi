# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
import threading
FORKED: int
class Lost(BaseException):
    attempts: Any
class Surroundings:
    def __init__(self, connection) -> None: ...
    def restore(self): ...
    def _take_back(self): ...
    _connection: Any
    _opened: Any
    _pid: Any
    _manager: Any
    _explicit: Any
    _transaction: Any
    ended: Any
class _Doubts(threading.local):
    any: bool
_doubts: _Doubts
def doubt(): ...
def settle_doubts(): ...
