"""What ``zc-async worker`` is told: on its command line and in the environment.

Each option is one row of `OPTIONS`.  What the command line leaves out is taken
from the environment variable ``ZC_ASYNC_`` and the option's name; what stands in
neither place has its default.
"""
import dataclasses
import importlib
import logging
import os

from .. import instanceuuid

PREFIX = 'ZC_ASYNC_'
_TRUE = ('1', 'true', 'yes', 'on')
_FALSE = ('', '0', 'false', 'no', 'off')
_LEVELS = ('debug', 'info', 'warning', 'error', 'critical')
_MOST_PROCESSES = 256
_MOST_JOBS = 1000
_MOST_SECONDS = 7 * 24 * 3600


class Refused(Exception):
    """It cannot be done as it was said; the text is one sentence for the user.

    *status* is the exit status: 2 for what makes no sense and never will, 1 for
    what may work another time.
    """

    def __init__(self, text, status=2):
        super().__init__(text)
        self.status = status


@dataclasses.dataclass(frozen=True)
class AgentSpec:
    """An agent that is wanted: its name, its size and its filter, if any."""

    name: str
    size: int
    filter: object = None

    def __str__(self):
        tail = f':{self.filter.__module__}.{self.filter.__qualname__}' if self.filter else ''
        return f'{self.name}:{self.size}{tail}'


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a worker is to do, checked.  *queues* None: all of them."""

    config: str
    uri: str
    queues: tuple
    agents: tuple
    uuid_file: str
    processes: int
    poll_interval: float
    grace: float
    ping_interval: float
    death_interval: float
    warn_after: float
    restart_delay: float
    log_level: int
    log_file: str
    check: bool
    install: bool

    def as_process(self, number):
        """Return the settings of the process *number* of several."""
        return dataclasses.replace(
            self, processes=0, uuid_file=self.uuid_file_of(number))

    def uuid_file_of(self, number):
        """Return the UUID file of the process *number*: ``uuid-1.txt``, say."""
        stem, extension = os.path.splitext(self.uuid_file)
        return f'{stem}-{number}{extension}'


# Reading a value.  Each raises ValueError with what should have been said.

def _text(value):
    return value


def _flag(value):
    if isinstance(value, bool):
        return value
    if value.strip().lower() in _TRUE:
        return True
    if value.strip().lower() in _FALSE:
        return False
    raise ValueError('say 1 or 0')


def _seconds(least):
    def seconds(value):
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not least <= number <= _MOST_SECONDS:  # also False for nan
            raise ValueError(f'give seconds from {least} to {_MOST_SECONDS}')
        return number

    return seconds


def _count(most):
    def count(value):
        if not (value.isascii() and value.isdigit() and int(value) <= most):
            raise ValueError(f'give a number from 0 to {most}')
        return int(value)

    return count


def _level(value):
    if value.lower() not in _LEVELS:
        raise ValueError(f'say one of {", ".join(_LEVELS)}')
    return getattr(logging, value.upper())


def _queues(values):
    """Queue names, from a list of them or from one text with commas."""
    if isinstance(values, str):
        values = [name.strip() for name in values.split(',')] if values else []
    return tuple(dict.fromkeys(values)) or None


def _agents(values):
    """Agents, from a list of specifications or from one text with blanks."""
    if isinstance(values, str):
        values = values.split()
    found = tuple(_agent(value) for value in values) or DEFAULT_AGENTS
    names = [agent.name for agent in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'name the agent {name!r} only once')
    return found


def _agent(text):
    name, _colon, rest = text.partition(':')
    size, _colon, dotted = rest.partition(':')
    if not (name and size.isascii() and size.isdigit() and 1 <= int(size) <= _MOST_JOBS):
        raise ValueError(f'say name:size or name:size:filter, as in "main:3", with a '
                         f'size from 1 to {_MOST_JOBS}')
    return AgentSpec(name, int(size), _named(dotted) if dotted else None)


def _named(dotted):
    """Return the function of the *dotted* name; it is stored by that name."""
    module, _dot, name = dotted.rpartition('.')
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ValueError(f'name a filter that can be imported, unlike {dotted!r} '
                         f'({type(error).__name__}: {error})') from None
    if not callable(found) or getattr(found, '__qualname__', None) != name:
        raise ValueError(f'name a function of a module as filter, unlike {dotted!r}')
    return found


DEFAULT_AGENTS = (AgentSpec('main', 3),)


@dataclasses.dataclass(frozen=True)
class Option:
    """One option: *name*, how to *read* what is said, and what it means."""

    name: str
    read: object
    default: object
    help: str
    metavar: str = None
    repeated: bool = False
    variable: str = ''

    @property
    def flag(self):
        """What stands on the command line."""
        return '--' + self.name.replace('_', '-')

    @property
    def key(self):
        """The environment variable."""
        return self.variable or PREFIX + self.name.upper()

    def add_to(self, parser):
        """Let *parser* know it."""
        words = {'dest': self.name, 'help': f'{self.help} [{self.key}]'}
        if self.read is _flag:
            words.update(action='store_true', default=None)
        else:
            words.update(metavar=self.metavar, action='append' if self.repeated else 'store')
        parser.add_argument(self.flag, **words)

    def value(self, said, environ):
        """Return the value from *said*, *environ*, or the default.  Raise `Refused`."""
        source = self.flag
        if said is None:
            said, source = environ.get(self.key), self.key
        if said is None or said == '':
            return self.default
        try:
            return self.read(said)
        except ValueError as error:
            shown = ' '.join(said) if isinstance(said, list) else said
            raise Refused(f'{source} is {shown!r}; {error}') from None


OPTIONS = (
    Option('config', _text, None,
           'a ZConfig file with the databases, <zodb> sections', 'FILE'),
    Option('queue', _queues, None,
           'work on this queue only; may be repeated, in the environment separate '
           'names with commas', 'NAME', True),
    Option('agent', _agents, DEFAULT_AGENTS,
           'how many jobs at a time (default: main:3), and the dotted name of a '
           'function that tells of a job whether to take it; may be repeated, in '
           'the environment separate agents with blanks', 'NAME:SIZE[:FILTER]', True),
    Option('uuid_file', _text, 'uuid.txt',
           'the file with the identity of the process, made if need be '
           '(default: uuid.txt)', 'FILE', variable=instanceuuid.ENVIRONMENT_KEY),
    Option('processes', _count(_MOST_PROCESSES), 0,
           'so many processes under a supervisor, each with a UUID file of its own: '
           'uuid-1.txt, uuid-2.txt, ... (default: one process and no supervisor)', 'N'),
    Option('poll_interval', _seconds(0.05), 5.0,
           'how often to look for work that other processes put (default: 5)', 'SECONDS'),
    Option('grace', _seconds(0), 20.0,
           'how long jobs may go on when the process is to stop (default: 20)', 'SECONDS'),
    Option('ping_interval', _seconds(0.1), None,
           'how often to give a sign of life in the database (default: as stored '
           'there, at first 5)', 'SECONDS'),
    Option('death_interval', _seconds(0.5), None,
           'after how much silence others take this process for dead (default: as '
           'stored there, at first 15)', 'SECONDS'),
    Option('warn_after', _seconds(0.1), 3600.0,
           'of jobs that are worked on for longer the log tells; they go on '
           '(default: 3600)', 'SECONDS'),
    Option('restart_delay', _seconds(0.01), 1.0,
           'how long the supervisor waits before it replaces a process, doubled up '
           'to a minute while that dies soon again (default: 1)', 'SECONDS'),
    Option('log_level', _level, logging.INFO,
           f'one of {", ".join(_LEVELS)} (default: info)', 'LEVEL'),
    Option('log_file', _text, None,
           'append the log to this file, which may be rotated (default: the '
           'standard error output)', 'FILE'),
    Option('check', _flag, False,
           'say what would be done and what is wrong, change nothing, and exit with '
           '0 if nothing is wrong'),
    Option('install', _flag, False,
           'make the database and the queues that are missing'),
)


def add_arguments(parser):
    """Let *parser* know the options."""
    parser.add_argument(
        'uri', metavar='URI', nargs='?',
        help='the database, as a URI: file://PATH, zeo://HOST:PORT, '
             'postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite://FOLDER '
             f'[{PREFIX}URI]')
    for option in OPTIONS:
        option.add_to(parser)
    parser.epilog = ('Each option may as well be said by the environment variable in '
                     'brackets.')


def settle(said, environ):
    """Return the `Settings` that *said*, from the parser, and *environ* ask for.

    A database on the command line hides one in the environment.  Raise `Refused`.
    """
    if said.uri or said.config:
        environ = {key: value for key, value in environ.items()
                   if key not in (PREFIX + 'URI', PREFIX + 'CONFIG')}
    found = {option.name: option.value(getattr(said, option.name), environ)
             for option in OPTIONS}
    found['uri'] = said.uri or environ.get(PREFIX + 'URI') or None
    found['queues'] = found.pop('queue')
    found['agents'] = found.pop('agent')
    found['uuid_file'] = os.path.abspath(found['uuid_file'])
    _check_together(found)
    return Settings(**found)


def _check_together(found):
    if found['uri'] and found['config']:
        raise Refused('a URI and --config were given; give one of them')
    if not (found['uri'] or found['config']):
        raise Refused(f'no database was named; give a URI or --config FILE, or set '
                      f'{PREFIX}URI or {PREFIX}CONFIG')
    ping, death = found['ping_interval'], found['death_interval']
    if ping is not None or death is not None:
        ping, death = ping or 5, death or 15
        if death <= max(ping, found['poll_interval']):
            raise Refused(
                f'a process that may be silent for {death:g} s must give a sign of life '
                f'more often than every {max(ping, found["poll_interval"]):g} s; raise '
                f'--death-interval, or lower --ping-interval and --poll-interval')
