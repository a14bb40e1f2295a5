"""What all drivers share: where the servers are, and how a job says that it ran.

A job says so by appending one record of fixed size to a file in memory, opened with
O_APPEND: two microseconds, safe over forks, threads and processes, and the same
cost for every system.
"""
import os
import struct
import time

#: A folder that belongs to this run.
FOLDER = os.environ['PEERS_FOLDER']
#: Whether what a commit or a command acknowledged is to survive a power cut.
DURABLE = os.environ['PEERS_DURABLE'] == '1'
#: How libpq and others name the database; empty for a system without.
DSN, URL = os.environ.get('PEERS_DSN', ''), os.environ.get('PEERS_URL', '')
REDIS = f'redis://127.0.0.1:{os.environ.get("PEERS_REDIS")}'

RECORD = struct.Struct('<qd')       # number of the job, seconds at its start
EFFECTS = ('create table if not exists effects '
           '(id bigserial primary key, job bigint)')

_file = None


def mark(number):
    """Say that the body of this job begins now."""
    global _file
    if _file is None:
        _file = os.open(os.environ['PEERS_MARKS'],
                        os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    # a clock that all processes of the machine share
    os.write(_file, RECORD.pack(number, time.monotonic()))
