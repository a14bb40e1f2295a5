# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
import dataclasses
_FRAMES: int
@dataclasses.dataclass(frozen=True, slots=True)
class UnderWay:
    key: tuple
    pool: tuple
    since: float
    text: str
    thread: int
    @property
    def age(self): ...
class Overdue:
    def __init__(self, services) -> None: ...
    def found(self): ...
    def look(self, sizes): ...
    def _tell_of_agents(self, found, sizes): ...
    _services: Any
    _told: Any
    full: Any
def _tell(one): ...
