"""Where the log of a worker goes, and what its lines look like."""
import logging
import logging.handlers
import re

from .options import Refused

_FORMAT = '%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s'
#: What could forge a line, or play with the terminal of who reads it.
_CONTROL = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]')
#: Characters of one record that are kept.
_MOST = 10_000


class Formatter(logging.Formatter):
    """Formats a record so that nothing in it can pass for another record."""

    def __init__(self):
        super().__init__(_FORMAT)

    def format(self, record):
        """Return the text of *record*; what follows its first line is indented."""
        text = super().format(record)
        if len(text) > _MOST:
            text = f'{text[:_MOST]}[...{len(text) - _MOST} more characters]'
        return _CONTROL.sub(_escaped, text).replace('\n', '\n    ')


def _escaped(match):
    return match.group().encode('unicode_escape').decode('ascii')


def set_up(settings):
    """Have everything logged that *settings* ask for.  Raise `Refused`."""
    from twisted.python.log import PythonLoggingObserver
    try:
        handler = (logging.handlers.WatchedFileHandler(settings.log_file, encoding='utf-8')
                   if settings.log_file else logging.StreamHandler())
    except OSError as error:
        raise Refused(f'cannot write the log file {settings.log_file!r}: '
                      f'{error.strerror}', 1) from None
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.log_level)
    PythonLoggingObserver('zc.async.twisted').start()
