"""What the actors of a kill loop have done, as they say it themselves.

One file for each process, appended to with one ``os.write`` for each line and
outside of any transaction.  What was written survives a SIGKILL; only the last
line of a file can be torn, and then what it tells of had not begun.
"""
import json
import os
import pathlib
import time

_END = '.history'


class History:
    """The history of the process *who*, in *folder*.  Any thread."""

    def __init__(self, folder, who):
        self.who, self.folder = who, folder
        self._file = os.open(
            path(folder, who), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.note('born')

    def note(self, what, **facts):
        """Write that *what* happened just now."""
        event = {'t': time.monotonic(), 'who': self.who, 'f': what, **facts}
        os.write(self._file, f'{json.dumps(event)}\n'.encode())


def path(folder, who):
    """Return where the process *who* writes."""
    return os.path.join(folder, f'{who}{_END}')


def read(folder):
    """Return the events of all histories in *folder*, in their order in time."""
    events = []
    for file in pathlib.Path(folder).glob(f'*{_END}'):
        lines = file.read_bytes().split(b'\n')
        lines.pop()  # nothing, or what a process was writing when it was killed
        events += map(json.loads, lines)
    return sorted(events, key=lambda event: event['t'])
