"""The task of a server."""
import logging
import sys

from bench.tasks.common import say


def zeo(path):
    """Serve the FileStorage *path* until told to end; say the address."""
    import ZEO
    # a client that was ended leaves without a word
    logging.getLogger('ZEO').setLevel(logging.CRITICAL)
    address, stop = ZEO.server(path, threaded=True)
    try:
        say(address=address)
        sys.stdin.read()
    finally:
        stop()
