"""Opening the database that a worker is told of, or saying in a line why not."""
import os
import re

from .. import datafile
from .. import log
from ..outage import is_conflict
from ..outage import is_outage
from ..runtime.mending import mend
from .options import Refused

#: Passwords in a URI.
_SECRET = re.compile(r'(://[^/?#:@]*:)[^/?#]*(?=@)|((?:^|[?&\s])password=)[^&\s]*')
_LONGEST = 300
#: Tries to open a database that meet conflicts before the last.
_TRIES = 3


def shown(text):
    """Return *text* in one line, without the passwords in its URIs."""
    hidden = _SECRET.sub(lambda found: (found[1] or found[2]) + '***', str(text))
    line = ' '.join(hidden.split())
    return line if len(line) <= _LONGEST else f'{line[:_LONGEST]}...'


def close(db):
    """Close *db* and the databases beside it; one that fails keeps none open."""
    for one in list(db.databases.values()):  # each takes itself out
        try:
            one.close()
        except Exception:
            log.events.exception('database %r could not be closed', one.database_name)


class Source:
    """Where the database is, as *settings* say.  Raise `Refused` for nonsense.

    With *read_only* it is opened so.  *settings.install* is None where a database
    cannot be made at all.
    """

    def __init__(self, settings, read_only=False):
        self._install = settings.install
        self.name = shown(settings.uri or settings.config)
        self._open, self.files = (
            _from_uri(settings.uri, read_only) if settings.uri
            else _from_config(settings.config, read_only))

    @property
    def missing(self):
        """The files of FileStorages that do not exist yet."""
        return [path for path in self.files if not os.path.exists(path)]

    def check_files(self):
        """Raise `Refused` for a file that is missing and should not be made."""
        for path in self.missing:
            rest = datafile.leftovers(path)
            if rest:
                raise Refused(
                    f'there is no {path}, but {" and ".join(rest)}: a pack was broken '
                    f'off; rename {rest[0]} to {path}', 1)
            if not self._install:
                made = '' if self._install is None else ', or let --install make it'
                raise Refused(f'there is no database {path}; correct the name{made}', 1)

    def open(self):
        """Return the `ZODB.DB`.  Raise `Refused` if it cannot be opened."""
        self.check_files()
        try:
            db = self._open_beside_others()
        except Exception as error:
            raise Refused(f'cannot open {self.name}: {_reason(error)}', 1) from None
        mend(db)
        return db

    def _open_beside_others(self):
        # Opening a new database makes its root: where another process does so at the
        # same moment, one of both meets a conflict, and finds the root the next time.
        for _try in range(_TRIES):
            try:
                return self._open()
            except Exception as error:
                if not is_conflict(error):
                    raise
        return self._open()


def _reason(error):
    name = type(error).__name__
    if is_outage(error):
        return f'{shown(error) or "nothing answers"} ({name})'
    if name == 'LockError':
        return 'another process uses it, and only one can'
    return f'{name}: {shown(error)}' if str(error) else name


# From a URI

def _from_uri(uri, read_only=False):
    """Return a callable that opens *uri*, and the files of its FileStorages."""
    try:
        import zodburi
    except ImportError:
        raise Refused('a URI needs the package zodburi; install zc.async[worker]') from None
    uri = _as_zodburi_says(uri)
    if read_only and 'read_only=' not in uri:
        uri += f'{"&" if "?" in uri else "?"}read_only=1'
    try:
        factory, options = zodburi.resolve_uri(uri)
    except zodburi.NoResolverForScheme:
        scheme = uri.partition(':')[0]
        raise Refused(f'nothing opens a {scheme!r} URI; say file, zeo, sqlite or '
                      f'postgresql (the latter two need zc.async[postgresql])') from None
    except Exception as error:
        raise Refused(f'{shown(uri)!r} is no database URI: {_reason(error)}') from None

    def open_uri():
        from ZODB.DB import DB
        storage = factory()
        try:
            return DB(storage, **options)
        except BaseException:
            storage.close()
            raise

    return open_uri, _files_of_uri(uri)


def _as_zodburi_says(uri):
    """Return *uri* as zodburi's resolvers understand it."""
    scheme, colon, rest = uri.partition('://')
    if scheme in ('postgres', 'postgresql'):
        if not re.match(r'[^:@/]+:[^@/]*@[^:/]+:\d+/\w', rest):
            raise Refused(f'{shown(uri)!r} is no PostgreSQL database; say '
                          f'postgresql://USER:PASSWORD@HOST:PORT/NAME')
        return f'postgres://{rest}'
    if scheme == 'sqlite' and 'data_dir=' not in rest:
        folder, mark, query = rest.partition('?')
        return f'sqlite:///?data_dir={folder}{"&" if query else ""}{query}'
    return uri


def _files_of_uri(uri):
    if not uri.startswith('file://'):
        return []
    return [os.path.abspath(uri.removeprefix('file://').partition('?')[0])]


# From a file

def _from_config(path, read_only=False):
    """Return a callable that opens what *path* says, and its FileStorages' files."""
    import ZConfig
    import ZODB.config
    try:
        config, _handler = ZConfig.loadConfig(
            ZODB.config.getDbSchema(), os.path.abspath(path))
    except (ZConfig.ConfigurationError, ImportError) as error:
        raise Refused(f'cannot read {path}: {_reason(error)}') from None

    def open_config():
        databases = {}
        try:
            return [factory.open(databases) for factory in config.database][0]
        except BaseException:
            for db in list(databases.values()):
                db.close()
            raise

    files = [found for factory in config.database
             for found in _files_of_section(factory.config.storage)]
    for factory in config.database if read_only else ():
        _set_read_only(factory.config.storage)
    return open_config, files


def _set_read_only(section):
    """Let the storage of the ZConfig *section* be opened to be read, and not made."""
    config = getattr(section, 'config', None)
    for name, value in (('read_only', True), ('create_schema', False)):
        if hasattr(config, name):
            setattr(config, name, value)
    for inner in ('base', 'changes'):
        if getattr(config, inner, None) is not None:
            _set_read_only(getattr(config, inner))


def _files_of_section(section):
    """Yield the files of the FileStorages in the ZConfig *section* of a storage."""
    config = getattr(section, 'config', None)
    if type(section).__name__ == 'FileStorage' and not config.read_only:
        yield os.path.abspath(config.path)
    for inner in ('base', 'changes'):
        if getattr(config, inner, None) is not None:
            yield from _files_of_section(getattr(config, inner))
