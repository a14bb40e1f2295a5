"""Text that can be stored and shown, whatever it was made from.

An exception's message is written by whoever raised it: it may be huge, carry
terminal escapes, or come from a ``__str__`` that itself raises.  What leaves
this module is always an exact `str`, bounded, and free of control characters.
"""
import re

#: Control characters other than newline and tab, surrogates that no encoding
#: takes, line separators, and the marks that turn the direction of writing.
UNSAFE = re.compile(
    '[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff'
    '\u2028\u2029\u202a-\u202e\u2066-\u2069]')


def is_a(thing, *classes):
    """Whether *thing* is an instance: by its type, not by its ``__class__``.

    The latter may be a property, that is, somebody else's code.
    """
    return issubclass(type(thing), classes)


def _escaped(match):
    code = ord(match.group())
    return '\\x%02x' % code if code < 256 else '\\u%04x' % code


def clip(text, limit):
    """Return *text*, or its beginning and its end where it is over *limit*."""
    # Through str's own methods: a subclass may redefine len() and slicing,
    # and a slice of a subclass is an exact str.
    size = str.__len__(text)
    if size <= limit:
        return str.__getitem__(text, slice(size))
    tail = limit // 4
    head = limit - tail
    return '%s[... %d characters left out ...]%s' % (
        str.__getitem__(text, slice(head)), size - limit,
        str.__getitem__(text, slice(size - tail, size)))


def clean(text, limit):
    """Return *text* as an exact `str`, clipped, control characters escaped."""
    return clip(UNSAFE.sub(_escaped, clip(text, limit)), limit + 100)


def guarded(function, *args, instead=None):
    """Return ``function(*args)``, or *instead* if it raises anything at all."""
    try:
        return function(*args)
    except BaseException:
        # Not Exception: a ``__str__`` that calls sys.exit() would otherwise
        # end the thread that only wanted to describe an error.
        return instead


def message_of(value, limit):
    """Return ``str(value)``, made safe; *value* is usually an exception."""
    text = guarded(str, value)
    if text is None:
        return '<the message cannot be shown: str() of it fails>'
    return clean(text, limit)


def line_of(text, limit):
    """Return *text* made safe, in one line."""
    return clean(text, limit).replace('\n', '\\n')
