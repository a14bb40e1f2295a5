# Made by tools/stubs.py from zc.async; change that, not this.
from typing import Any
events: Any
trace: Any
