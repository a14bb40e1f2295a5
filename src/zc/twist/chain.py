"""What led to an exception, told as text, in the manner of Python's own.

Causes, contexts, notes and the members of groups are written down when a
failure is made; from then on they are text.  Everything is bounded: chains
may be long or closed into rings, groups may be deep and wide.
"""
import collections
import itertools
import linecache

from zc.twist.standin import dotted, name_of
from zc.twist.text import clean, clip, guarded, is_a, line_of, message_of

MAX_FRAMES = 64         # of the exception itself
MAX_TOLD_FRAMES = 24    # of each one that led to it
MAX_MESSAGE = 10000
MAX_TOLD_MESSAGE = 2000
MAX_TOLD = 30           # exceptions told of, besides the one itself
MAX_WALK = 1000         # links followed in search of the first cause
MAX_NOTES = 20
MAX_NOTE = 1000
MAX_DEPTH = 4           # groups within groups
MAX_MEMBERS = 8
MAX_TEXT = 20000

CAUSE = ('\nThe above exception was the direct cause of the following '
         'exception:\n\n')
CONTEXT = ('\nDuring handling of the above exception, another exception '
           'occurred:\n\n')

# Through BaseException's own descriptors: a subclass may redefine these names.
_cause = vars(BaseException)['__cause__'].__get__
_context = vars(BaseException)['__context__'].__get__
_suppressed = vars(BaseException)['__suppress_context__'].__get__
_members = vars(BaseExceptionGroup)['exceptions'].__get__
traceback_of = vars(BaseException)['__traceback__'].__get__


# Frames

def source_line(filename, number, names=None):
    """Return the line of source, stripped, or an empty string."""
    text = guarded(linecache.getline, filename, number, names, instead='')
    return line_of(text.strip(), 200)


def frames_of(tb, skip=0, limit=MAX_FRAMES):
    """Return (frames, number left out) of the traceback *tb*.

    A frame is (function, file name, line number, source line): no variable.
    The *skip* outermost are not shown; where there are more than *limit*, the
    middle is left out.
    """
    first, last, count = [], collections.deque(maxlen=limit - limit // 3), 0
    while tb is not None:
        if skip > 0:
            skip -= 1
        else:
            count += 1
            (first if len(first) < limit // 3 else last).append(tb)
        tb = tb.tb_next
    kept = first + list(last)
    return tuple(map(_frame, kept)), count - len(kept)


def _frame(tb):
    code, number = tb.tb_frame.f_code, tb.tb_lineno or 0
    return (line_of(code.co_name, 200), line_of(code.co_filename, 500), number,
            source_line(code.co_filename, number, tb.tb_frame.f_globals))


def format_frames(frames, left_out):
    """Return *frames* as Python prints them."""
    lines = []
    for index, (function, filename, number, source) in enumerate(frames):
        if left_out and index == len(frames) // 3:
            lines.append('  [... %d frames left out ...]\n' % left_out)
        lines.append('  File "%s", line %d, in %s\n' % (filename, number, function))
        if source:
            lines.append('    %s\n' % source)
    return ''.join(lines)


# Chains

class _Told:
    """Which exceptions have been told of, and how many more may be."""

    def __init__(self, exception):
        self.seen = {id(exception)}
        self.left = MAX_TOLD

    def admit(self, exception):
        if self.left <= 0 or id(exception) in self.seen:
            return False
        self.seen.add(id(exception))
        self.left -= 1
        return True


def _link(exception):
    """Return (what led directly to *exception* or None, the sentence for it)."""
    if _cause(exception) is not None:
        return _cause(exception), CAUSE
    if _suppressed(exception):
        return None, ''
    return _context(exception), CONTEXT


def _links(exception, told):
    """Return [(exception, sentence after it)], the nearest first; no rings."""
    found, walked = [], set(told.seen)
    earlier, sentence = _link(exception)
    while earlier is not None and id(earlier) not in walked \
            and len(found) < MAX_WALK:
        walked.add(id(earlier))
        found.append((earlier, sentence))
        earlier, sentence = _link(earlier)
    return found


def _led_to(exception, told, depth):
    found = _links(exception, told)
    left_out = max(0, len(found) - 8)
    if left_out:
        found[5:-3] = [(None, '')]      # the nearest five, the first three
    parts = []
    for earlier, sentence in reversed(found):
        if earlier is None:
            parts.append('[... %d exceptions left out ...]\n\n' % left_out)
        elif told.admit(earlier):
            parts.append(_own(earlier, told, depth) + sentence)
    return ''.join(parts)


def _own(exception, told, depth):
    frames, left_out = frames_of(
        traceback_of(exception), limit=MAX_TOLD_FRAMES)
    head = 'Traceback (most recent call last):\n' if frames else ''
    return '%s%s%s: %s\n%s' % (
        head, format_frames(frames, left_out), dotted(name_of(type(exception))),
        message_of(exception, MAX_TOLD_MESSAGE),
        _appended(exception, told, depth))


def _notes(exception):
    notes = getattr(exception, '__notes__', None)
    if notes is None:
        return ''
    if not is_a(notes, list, tuple):
        return clean(repr(notes), MAX_NOTE) + '\n'
    shown = [clean(note if is_a(note, str) else repr(note), MAX_NOTE)
             for note in itertools.islice(notes, MAX_NOTES)]
    if len(notes) > MAX_NOTES:
        shown.append('[... %d notes left out ...]' % (len(notes) - MAX_NOTES))
    return ''.join(note + '\n' for note in shown)


def _grouped(exception, told, depth):
    if not is_a(exception, BaseExceptionGroup):
        return ''
    if depth >= MAX_DEPTH:
        return '  [... the members of this group are left out ...]\n'
    members = _members(exception)
    parts = []
    for number, member in enumerate(members[:MAX_MEMBERS], 1):
        parts.append('  +---------------- %d ----------------\n' % number)
        parts.append(_indented(_member(member, told, depth + 1)))
    if len(members) > MAX_MEMBERS:
        parts.append('  +---------------- ... ----------------\n  | and %d more\n'
                     % (len(members) - MAX_MEMBERS))
    return ''.join(parts) + '  +------------------------------------\n'


def _member(member, told, depth):
    if not told.admit(member):
        return '%s [shown above, or left out]\n' % dotted(name_of(type(member)))
    return _led_to(member, told, depth) + _own(member, told, depth)


def _indented(text):
    return ''.join('  | %s\n' % line for line in text.rstrip('\n').split('\n'))


def _appended(exception, told, depth):
    """Return what stands below the exception's line: notes, group members."""
    notes = guarded(_notes, exception, instead='<the notes cannot be shown>\n')
    return notes + _grouped(exception, told, depth)


def _bounded(text):
    # Clipped text may end in mid-line; what follows begins a line of its own.
    text = clip(text, MAX_TEXT)
    return text if not text or text.endswith('\n') else text + '\n'


def story_of(exception):
    """Return (text to stand above the traceback, text to stand below it)."""
    if not is_a(exception, BaseException):
        return '', ''
    told = _Told(exception)
    failed = '[the exceptions that led to this one cannot be shown]\n'
    return (_bounded(guarded(_led_to, exception, told, 0, instead=failed)),
            _bounded(guarded(_appended, exception, told, 0, instead=failed)))
