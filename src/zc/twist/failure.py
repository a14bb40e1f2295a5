"""Failures that can be stored: text and plain data from birth.

`Failure` is a `twisted.python.failure.Failure` and can be used as one.  What
it stores is what can be read: the names of the exception's class and bases,
the message, the frames without a single variable, and the text of what led to
it.  The exception itself is never pickled.
"""
import copyreg
import sys

from twisted.python import failure as twisted_failure

from zc.twist import chain, standin
from zc.twist.text import is_a, line_of, message_of

VERSION = 1
DETAILS = ('brief', 'default', 'verbose')


class Failure(twisted_failure.Failure):
    """An error that can be carried, stored and read later, anywhere.

    ``Failure()`` is of the exception being handled; ``Failure(exception)`` of
    that one.  *exc_type* and *exc_tb* replace the exception's own class and
    traceback.  The *skip* outermost frames are not kept, which hides the
    machinery that made a call.  *captureVars* is there for Twisted's sake:
    variables are never kept.

    Everything that is shown is written down here and now, so it is the same
    before and after storing.  In the process where it was made, ``value`` and
    ``type`` are the live exception and class, until `forget`; call that before
    keeping a failure for long, as an exception holds what it refers to, and
    its traceback all variables of its frames.  After that, and after loading:

    ``type``
        the class where its module is imported already, else a class with the
        same name, module and built-in base.  Nothing is imported.

    ``value``
        an exception that stands for the original: same class name, same
        ``str``, caught by the same built-in class; none of its attributes.
    """

    __module__ = 'zc.twist'     # what pickles name; never to change

    def __init__(self, exc_value=None, exc_type=None, exc_tb=None,
                 captureVars=False, *, skip=0):
        # BaseException.__new__ has kept the arguments, the exception included.
        self.args = ()
        if exc_value is None:
            exc_type, exc_value, exc_tb = sys.exc_info()
            if exc_type is None:
                raise twisted_failure.NoCurrentExceptionError()
        if is_a(exc_value, twisted_failure.Failure):
            self._take_over(exc_value)
            return
        if exc_tb is None and is_a(exc_value, BaseException):
            exc_tb = chain.traceback_of(exc_value)
        self._write_down(exc_value, exc_type or type(exc_value),
                         exc_tb, chain.frames_of(exc_tb, skip))

    def _write_down(self, value, cls, tb, frames):
        """Turn the live *value* into what is kept."""
        if not standin.is_class(cls):
            names = ('?:' + line_of(cls, 300) if is_a(cls, str) else '?:?',)
        else:
            names = standin.names_of(cls)
        self._keep(names, message_of(value, chain.MAX_MESSAGE), *frames,
                   *chain.story_of(value))
        self.__dict__.update(type=cls, value=value, tb=tb)

    def _keep(self, names, message, frames, left_out, above, below, later=()):
        # The names that Twisted's own class uses hold the same here as there:
        # ``raise failure`` in a Deferred's callback makes it copy __dict__.
        self.__dict__.update(
            _names=names, _message=message, _lines=frames, _left_out=left_out,
            _above=above, _below=below, _later=later,
            count=0, captureVars=False, tb=None,
            _frames=[frame[:3] + ((), ()) for frame in frames],
            _parents=standin.parents(names))

    def _take_over(self, other):
        """Become what *other* says, a Failure of Twisted's or ours."""
        if is_a(other, Failure):
            self.__dict__.update(other.__dict__)
            return
        if other.tb is not None:
            frames = chain.frames_of(other.tb)
        else:
            lines = tuple(map(_frame_as_text, other.frames[-chain.MAX_FRAMES:]))
            frames = lines, len(other.frames) - len(lines)
        self._write_down(other.value, other.type, other.tb, frames)

    # Storing

    def __getstate__(self):
        return (VERSION, self._names, self._message, self._lines,
                self._left_out, self._above, self._below) + self._later

    def __setstate__(self, state):
        if isinstance(state, dict):
            self._keep(*_read_dict(state))
        else:
            # A later version may append fields: they are kept, so that
            # storing again loses nothing, and otherwise ignored.
            self._keep(*state[1:7], later=state[7:])
        self.pickled = 1
        self.forget()

    def __reduce__(self):
        return copyreg.__newobj__, (type(self),), self.__getstate__()

    def forget(self):
        """Let go of the live exception; what stands for it takes its place."""
        self.__dict__.update(
            tb=None, type=standin.class_for(self._names),
            value=standin.stand_in(self._names, self._message))

    def cleanFailure(self):
        """Let go of the traceback, and with it of all variables.

        The exception stays, as with Twisted's: whoever takes the failure out
        of a Deferred may want to catch it.  `forget` lets go of both.
        """
        self.tb = None
        if is_a(self.value, BaseException):
            BaseException.with_traceback(self.value, None)

    # Asking

    @property
    def type(self):
        """The exception's class, or a class that stands for it."""
        cls = self.__dict__['type']
        if standin.is_class(cls) and standin.is_stand_in(cls):
            return standin.find(self._names[0]) or cls
        return cls

    @property
    def typeName(self):
        """The dotted name of the exception's class."""
        return standin.dotted(self._names[0])

    def check(self, *errorTypes):
        """Return the first of *errorTypes* that this failure is of, or None.

        Each is a class or a dotted name; a base class counts too.  Classes
        are compared by name, so it does not matter which process raised.
        """
        for error in errorTypes:
            if standin.is_class(error):
                if standin.name_of(error) in self._names:
                    return error
            elif error in self._parents:
                return error
        return None

    def raiseException(self):
        """Raise the exception, or what stands for it."""
        raise self._raisable().with_traceback(self.tb)

    def throwExceptionIntoGenerator(self, g):
        """Throw the exception, or what stands for it, into the generator."""
        return g.throw(self._raisable().with_traceback(self.tb))

    # As in Twisted: this frame is not of interest in the generator's traceback.
    twisted_failure._inlineCallbacksExtraneous.append(
        throwExceptionIntoGenerator.__code__)

    def _raisable(self):
        if is_a(self.value, BaseException):
            return self.value
        return standin.stand_in(self._names, self._message)

    # Showing

    def getErrorMessage(self):
        """The exception's message, bounded and free of control characters."""
        return self._message

    def __repr__(self):
        return '<zc.twist.Failure %s: %s>' % (
            self.typeName, line_of(self._message, 500))

    def printTraceback(self, file=None, elideFrameworkCode=False,
                       detail='default'):
        """Write the traceback to *file*, or to Twisted's log.

        *detail* is ``'brief'``, ``'default'`` or ``'verbose'``; the last one
        shows no variables either, since there are none, and says so.
        *elideFrameworkCode* is ignored, as in Twisted.
        """
        if detail not in DETAILS:
            raise ValueError('detail %r does not exist; it is one of %s' % (
                detail, ', '.join(map(repr, DETAILS))))
        if file is None:
            from twisted.python import log
            file = log.logerr
        file.write(getattr(self, '_%s' % detail)())

    def _last_line(self):
        return '%s: %s\n' % (self.typeName, self._message)

    def _places(self, form):
        lines = [form % (filename, number, function)
                 for function, filename, number, _ in self._lines]
        if self._left_out:
            lines.insert(len(lines) // 3,
                         '[... %d frames left out ...]\n' % self._left_out)
        return ''.join(lines)

    def _brief(self):
        head = 'Traceback' if self._lines else 'Traceback (failure with no frames)'
        return '%s: %s%s' % (head, self._last_line(), self._places('%s:%s:%s\n'))

    def _default(self):
        frames = chain.format_frames(self._lines, self._left_out)
        return '%sTraceback (most recent call last):\n%s%s%s' % (
            self._above, frames or 'Failure: ', self._last_line(), self._below)

    def _verbose(self):
        return ('*--- Failure of %s ---\n%s%s [Variables are not kept]\n%s%s'
                '*--- End of Failure ---\n') % (
            self.typeName, self._above, self._places('%s:%s: %s(...)\n'),
            self._last_line(), self._below)


def _frame_as_text(frame):
    function, filename, number = frame[:3]
    return (line_of(str(function), 200), line_of(str(filename), 500), number,
            chain.source_line(filename, number))


def _read_dict(state):
    """Return what a Failure keeps, from the dict that Twisted's class stores.

    Databases written by the package's Python 2 ancestor hold such.
    """
    frames = state.get('frames') or ()
    lines = tuple(map(_frame_as_text, frames[-chain.MAX_FRAMES:]))
    parents = [line_of(str(name), standin.MAX_NAME)
               for name in state.get('parents') or (state.get('type'),)]
    names = tuple(
        ':'.join(name.replace('exceptions.', 'builtins.', 1).rpartition('.')[::2])
        for name in parents if not name.endswith('.object'))
    return (names or ('builtins:Exception',),
            message_of(state.get('value'), chain.MAX_MESSAGE),
            lines, len(frames) - len(lines), '', '')


def sanitize(failure):
    """Return *failure*, a Failure or an exception, as a `zc.twist.Failure`.

    One that is a `zc.twist.Failure` already is returned as it is; one of
    Twisted's keeps its frames.
    """
    if is_a(failure, Failure):
        return failure
    if is_a(failure, BaseException):
        return Failure(failure)
    raise TypeError('sanitize takes a Failure or an exception, not %s'
                    % standin.dotted(standin.name_of(type(failure))))
