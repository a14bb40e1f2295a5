# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
import dataclasses
NOTHING: Any
UNTOUCHED: Any
@dataclasses.dataclass(slots=True)
class Outcome:
    oid: bytes
    database_name: str
    attempt: int
    value: object = ...
    visited: tuple = ...
    order: bytes = ...
def apply(job, outcome, nodes): ...
