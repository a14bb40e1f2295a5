"""The loggers: ``zc.async.events`` for what matters, ``zc.async.trace`` for all.

What jobs are called, get, return and raise is somebody else's text, and a name of
an agent or a queue may be anything.  So each record is made harmless before any
handler has it: its message is one line, without control characters and not long,
and so is each line of its traceback.
"""
import logging

from . import describe
from . import failures

#: Bytes of one message, and of one traceback, at most.
LONGEST = 10_000
_PLAIN = (str, int, float, type(None))


class Harmless(logging.Filter):
    """Lets no record forge another one, play with a terminal, or be endless."""

    def filter(self, record):
        """Make *record* harmless; return True."""
        said = _said(record)
        message = _instead(record) if said is None else harmless(said)
        if message != said or not _is_plain(record.args):
            # otherwise left as it is: some sort records by what was to be formatted
            record.msg, record.args = message, None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _cut(failures.story(record.exc_info[1]))
        return True


def _said(record):
    """Return the message; None where what it is made of does not let that happen."""
    try:
        return record.getMessage()
    except BaseException:
        return None


def _instead(record):
    return f'{describe.safe_repr(record.msg)} with arguments that cannot be shown'


def _is_plain(args):
    return not args or isinstance(args, tuple) and all(
        any(type(one) is cls for cls in _PLAIN) for one in args)


def harmless(text):
    """Return *text* on one line of at most `LONGEST` bytes."""
    return _cut(describe.printable(text, LONGEST))


def _cut(text):
    data = text.encode('utf-8', 'replace')
    return text if len(data) <= LONGEST else data[:LONGEST].decode('utf-8', 'ignore') + '...'


def _logger(name):
    logger = logging.getLogger(name)
    logger.addFilter(Harmless())
    return logger


events = _logger('zc.async.events')
trace = _logger('zc.async.trace')
