"""Exceptions that make trouble, each in its own way."""


class BadStr(Exception):
    def __str__(self):
        raise ValueError('no text for you')

    __repr__ = __str__


class Exits(Exception):
    def __str__(self):
        raise SystemExit(3)


class NotText(Exception):
    def __str__(self):
        return 42


class Huge(Exception):
    def __str__(self):
        return 'x' * 100_000_000


class SlyText(str):
    """A str that lies about itself."""

    def __len__(self):
        raise ValueError('no length of me')

    def __getitem__(self, key):
        raise ValueError('no part of me')

    def __reduce__(self):
        raise ValueError('no pickle of me')


class Sly(Exception):
    def __str__(self):
        return SlyText('sly')


class Unpicklable(Exception):
    def __reduce__(self):
        raise ValueError('never pickled')


class Explosive(Exception):
    """Its pickle runs code when it is loaded, and so does its class."""

    def __reduce__(self):
        return explode, ()


def explode():
    raise SystemExit('the code of an exception was run')


class Meta(type):
    """A metaclass that answers every question with an error."""

    def __getattribute__(cls, name):
        raise ValueError('do not ask %s' % name)


class OfMeta(Exception, metaclass=Meta):
    pass


class BadNotes(Exception):
    @property
    def __notes__(self):
        raise ValueError('no notes')


class Redefined(Exception):
    """Redefines what the chain and the traceback are found by."""

    @property
    def __cause__(self):
        raise ValueError('no cause')

    __context__ = __traceback__ = __suppress_context__ = __class__ = __cause__


ALL = [BadStr, Exits, NotText, Huge, Sly, Unpicklable, Explosive, OfMeta,
       BadNotes, Redefined]
