# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
import dataclasses
UNSET: Any
BEGUN: Any
SETTLED: Any
FINISHED: Any
KEPT: Any
_STORED: dict[Any, Any]
@dataclasses.dataclass(frozen=True)
class Arrow:
    name: str
    sources: tuple
    target: str
    code: int
    fired_by: str
    committed_with: str
ARROWS: dict[Any, Any]
def of(job): ...
def check(job, name): ...
def move(job, name): ...
def rerun(job): ...
def resume(job): ...
