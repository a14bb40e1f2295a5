"""The section ``<product-config zc.async>`` of a site's ``zope.conf``.

It has these keys, all of them optional::

    <product-config zc.async>
      poll-interval 5
      db-name async
      agent-size 3
      uuid-file /var/lib/site/uuid.txt
    </product-config>

They are for the ready-made installers, and so for the policies.  An environment
variable ``ZC_ASYNC_UUID`` counts before ``uuid-file``.
"""
import sys


def _text(value):
    if not value:
        raise ValueError(value)
    return value


def _interval(value):
    seconds = float(value)
    if not 0 < seconds < float('inf'):
        raise ValueError(value)
    return seconds


def _size(value):
    size = int(value)
    if size < 1:
        raise ValueError(value)
    return size


#: key: (what reads its value, what the value is)
KEYS = {
    'poll-interval': (_interval, 'a number of seconds over 0'),
    'db-name': (_text, 'the name of a database'),
    'agent-size': (_size, 'a number over 0'),
    'uuid-file': (_text, 'a path'),
}


def options():
    """Return what the section says, by key; {} where the host has none.

    Raise ValueError for a key or a value that cannot be.
    """
    return {key: _read(key, value) for key, value in (_section() or {}).items()}


def _section():
    """Return the section's mapping, or None.

    A host that has such sections has loaded the module that knows them.
    """
    toolkit = sys.modules.get('zope.app.appsetup.product')
    said = toolkit.getProductConfiguration('zc.async') if toolkit is not None else None
    zope = sys.modules.get('App.config')
    if said is None and zope is not None:
        sections = getattr(zope.getConfiguration(), 'product_config', None) or {}
        said = sections.get('zc.async')
    return said


def _read(key, value):
    if key not in KEYS:
        raise ValueError(
            f'<product-config zc.async> has a key {key!r}; '
            f'what it may have is {", ".join(KEYS)}')
    read, kind = KEYS[key]
    try:
        return read(value)
    except ValueError:
        raise ValueError(f'{key} in <product-config zc.async> is {kind}, '
                         f'not {value!r}') from None
