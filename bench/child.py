"""What a fresh process of the bench does: ``python -m bench.child``.

See `children`.  The tasks are the functions of the modules in `tasks`.
"""
import json
import logging
import os
import sys
import threading

from bench.tasks import draining
from bench.tasks import limiting
from bench.tasks import putting
from bench.tasks import serving
from bench.tasks import starting
from bench.tasks import staying

TASKS = {task.__name__: task for task in (
    putting.put, putting.produce, draining.drain, draining.drain_some,
    draining.work_with_others, limiting.commit_bare, starting.latency, starting.serve,
    staying.remember, staying.idle, serving.zeo)}
#: Those that read what they are told on the way, and end when that does.
LISTENING = (starting.serve, serving.zeo, putting.produce, draining.work_with_others,
             limiting.commit_bare)


def _end_with_the_bench():
    """End at once when nobody is there who waits for an answer."""
    sys.stdin.read()
    os._exit(3)


def main():
    told = json.loads(sys.stdin.readline())
    task = TASKS[told.pop('role')]
    # that a client or a server leaves is no news here
    logging.getLogger('ZEO').setLevel(logging.ERROR)
    if task not in LISTENING:
        threading.Thread(target=_end_with_the_bench, daemon=True).start()
    task(**told)


if __name__ == '__main__':
    main()
