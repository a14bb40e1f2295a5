"""What the demo shows: a progress bar, and a table."""
import shutil
import textwrap

from .. import clock
from .. import describe

#: Seconds between two lines where there is no terminal.
_LINE_EVERY = 2
#: Failures that the table shows at most.
_FAILURES = 10
#: Characters of a line of the table, beside its name.
_WIDTH = 62


class Screen:
    """Writes to *stream*, in place if that is a terminal."""

    def __init__(self, stream):
        self._stream = stream
        self._live = stream.isatty()
        self._shown = None
        self._next = 0

    def say(self, text=''):
        """Write the line *text*, below the bar if there is one."""
        self._write(('\n' if self._on_bar else '') + f'{text}\n')
        self._shown = None

    @property
    def _on_bar(self):
        return self._live and self._shown is not None

    def show(self, progress):
        """Show *progress*, unless it is shown already."""
        if progress == self._shown:
            return
        if self._live:
            self._write('\r' + bar(progress, shutil.get_terminal_size().columns - 1))
        else:
            now = clock.monotonic()
            if now < self._next and not progress.finished:
                return
            self._next = now + _LINE_EVERY
            self._write(f'{progress.done:,} of {progress.files:,} files\n')
        self._shown = progress

    def table(self, run):
        """Write what *run*, which is finished, found."""
        self.say()
        for line in table(run):
            self.say(line)

    def _write(self, text):
        # what cannot be shown here is shown escaped
        encoding = self._stream.encoding or 'ascii'
        self._stream.write(
            text.encode(encoding, 'backslashreplace').decode(encoding))
        self._stream.flush()


def bar(progress, width):
    """Return *progress* as a bar of *width* characters."""
    share = progress.done / progress.files
    text = f' {progress.done:,} of {progress.files:,} files {int(100 * share):3}%'
    room = max(width - len(text) - 2, 0)
    full = int(room * share)
    return f'[{"#" * full}{"." * (room - full)}]{text}'[:width]


def table(run):
    """Return the lines of the table about *run*."""
    found = run.summary
    failed = found['failures']
    rows = [
        ('folder', describe.printable(run.folder)),
        ('files', f'{found["files"] + len(failed):,}'),
        ('words', f'{found["words"]:,}'),
        ('distinct words', f'{found["distinct"]:,}'),
        *_under('most frequent', _frequent(found['frequent'])),
        ('failures', f'{len(failed):,}'),
        *_under('', _failures(failed))]
    if run.seconds is not None:
        since = ', since it was started again' if run.resumed else ''
        rows += [('seconds', f'{run.seconds:.1f}{since}'),
                 ('jobs per second', f'{run.performed / run.seconds:,.0f}')]
    return [f'{name:<16} {text}'.rstrip() for name, text in rows]


def _under(name, texts):
    """Yield a row for each of *texts*, the first of them named *name*."""
    for text in texts:
        yield name, text
        name = ''


def _frequent(counts):
    words = ', '.join(f'{_short(word, 20)} {count:,}' for word, count in counts)
    return textwrap.wrap(words, _WIDTH) or ['none']


def _failures(failed):
    """Return a line for each of the first of *failed*, and how many more."""
    lines = [_short(f'{_short(describe.printable(path), 40, keep_end=True)}: '
                    f'{reason}', _WIDTH) for path, reason in failed[:_FAILURES]]
    if len(failed) > _FAILURES:
        lines.append(f'and {len(failed) - _FAILURES:,} more')
    return lines


def _short(text, limit, keep_end=False):
    if len(text) <= limit:
        return text
    if keep_end:
        return '...' + text[3 - limit:]
    return text[:limit - 3] + '...'
