"""Telling systemd how the process is: READY, STOPPING and the watchdog.

The protocol is one datagram of ``NAME=value`` lines to the socket that
``NOTIFY_SOCKET`` names; where nobody listens, nothing is sent.
"""
import os
import socket

from .. import log

READY = 'READY=1'
STOPPING = 'STOPPING=1'
WATCHDOG = 'WATCHDOG=1'


def status(text):
    """Return the state that shows *text* beside the service."""
    return 'STATUS=' + ' '.join(text.split())


def notifier(environ):
    """Return a callable that sends states to the service manager.

    The variable is taken out of *environ*: what a job starts is no part of the
    conversation.
    """
    name = environ.pop('NOTIFY_SOCKET', None)
    if not name or name[0] not in '/@' or not hasattr(socket, 'AF_UNIX'):
        return _nobody
    address = '\0' + name[1:] if name[0] == '@' else name

    def send(*states):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            try:
                channel.sendto('\n'.join(states).encode(), address)
            except OSError as error:
                # the service manager may restart; the work must not stop for it
                log.events.warning('cannot notify %s: %s', name, error)

    return send


def _nobody(*_states):
    """Send nothing."""


def watchdog_interval(environ):
    """Return how many seconds may pass between two WATCHDOGs; None: any number.

    It is half of what the service manager's patience is.  The variables are
    taken out of *environ*.
    """
    micros = environ.pop('WATCHDOG_USEC', '')
    for_whom = environ.pop('WATCHDOG_PID', '')
    if for_whom and for_whom != str(os.getpid()):
        return None
    if not (micros.isascii() and micros.isdigit()) or not int(micros):
        return None
    return int(micros) / 2_000_000
