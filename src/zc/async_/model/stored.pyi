# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
_LAYOUT: Any
_ENDED: Any
_NEVER: Any
_NOWHERE: Any
_NOBODY: Any
CALL: int
def pack(state): ...
def unpack(stored): ...
