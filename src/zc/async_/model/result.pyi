# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
import persistent
LARGEST: int
_SMALL: tuple[Any, ...]
_SIZED: tuple[Any, ...]
class Held(persistent.Persistent):
    def __init__(self, value) -> None: ...
    value: Any
def kept(value): ...
def value_of(found): ...
