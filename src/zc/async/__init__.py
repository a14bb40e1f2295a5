"""Durable, transactional jobs for ZODB applications.

Python statements spell this package ``zc.async_``; everything that is a string
says ``zc.async``.  Importing it loads nothing else: ``local`` is fetched when
it is first asked for.
"""


def __getattr__(name):
    if name == 'local':
        from .threadlocal import local
        return local
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
