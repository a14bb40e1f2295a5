"""Jobs that run in Zope, the application server, as they were made there.

Not named after ``zope``, the namespace that this package imports all over.
Needs what the extra ``zope2`` installs.  Loading a stored job needs none of it,
so that any process can look at the queue.
"""
import contextlib
import contextvars
import functools
import io
import types
import urllib.parse

import zope.component.hooks
import zope.interface
from twisted.python.reflect import namedAny
from zope.interface.interface import InterfaceClass

from . import describe
from . import job
from . import z3
from .model.call import Args
from .model.call import Kwargs
from .z3 import ContextGone

#: The application root of the job that runs, wrapped in its request.
_app = contextvars.ContextVar('zc.async application', default=None)

#: Where a request is said to have gone that no browser has made.
NOWHERE = 'http://nohost'
#: Characters of what a browser sent that are stored with a job at most.
LONGEST = 1000


class Located:
    """Stands in a stored job for an object of the application, or its method.

    It is looked up by its path, as only that brings its acquisition context
    back, and has to be the same object still.
    """

    def __init__(self, path, obj, method=None):
        self.path = path
        self.obj = obj        # without its wrapper
        self.method = method  # a name

    def find(self, what='object'):
        """Return it in the context of the job that runs, or raise `ContextGone`."""
        app = _app.get()
        if app is None:
            raise ContextGone(f'{self!r} can only be found while its job runs')
        found = _traverse(app, self.path)
        if found is None:
            raise ContextGone(f'the {what} is gone from {self.shown()}')
        if not _same(found, self.obj):
            raise ContextGone(f'the {what} is gone from {self.shown()}, where '
                              f'another object is now')
        return found if self.method is None else getattr(found, self.method)

    def __call__(self, *args, **kwargs):
        return self.find()(*args, **kwargs)

    def shown(self):
        """Return its path as text."""
        return '/'.join(self.path) or '/'

    def __repr__(self):
        return self.shown() + (f' :{self.method}' if self.method else '')


def located(obj):
    """Return the `Located` of *obj*, an acquisition wrapper.

    Raise ValueError where no path leads back to it.
    """
    from Acquisition import aq_base
    base = aq_base(obj)
    try:
        path, root = obj.getPhysicalPath(), obj.getPhysicalRoot()
        found = _traverse(root, path)
    except AttributeError:
        path = found = None
    if found is None or not _same(found, base):
        raise ValueError(
            f'a job would not find {describe.safe_repr(obj, 200)} again, since it is '
            f'not in the application at its path {path!r}; add it there first')
    if base._p_jar is None and root._p_jar is not None:
        # or it might be stored in the database of the queues
        root._p_jar.add(base)
    return Located(tuple(path), base)


def _traverse(app, path):
    """Return what *path* leads to; None where nothing, or something acquired."""
    from zExceptions import NotFound
    try:
        found = app.unrestrictedTraverse(path)
        # acquired from further up, it has another path
        return found if tuple(found.getPhysicalPath()) == tuple(path) else None
    except (AttributeError, KeyError, NotFound):
        return None


def _same(found, obj):
    from Acquisition import aq_base
    return aq_base(found) is obj


def to_store(value):
    """Return what is stored for *value*: a `Located` for a wrapper or its method."""
    from Acquisition import aq_base
    if isinstance(value, types.MethodType):
        owner = value.__self__
        if aq_base(owner) is owner:
            return value
        found = located(owner)
        found.method = value.__name__
        return found
    return value if aq_base(value) is value else located(value)


def to_use(value):
    """Return what *value* stands for, if it stands for something and a job runs."""
    if isinstance(value, Located) and _app.get() is not None:
        return value.find()
    return value


class _Args(Args):

    __slots__ = ()

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return list(map(to_use, found)) if isinstance(index, slice) else to_use(found)

    def __setitem__(self, index, value):
        stored = map(to_store, value) if isinstance(index, slice) else to_store(value)
        super().__setitem__(index, stored)

    def insert(self, index, value):
        super().insert(index, to_store(value))

    def extend(self, values):
        super().extend(map(to_store, values))


class _Kwargs(Kwargs):

    __slots__ = ()

    def __getitem__(self, key):
        return to_use(super().__getitem__(key))

    def __setitem__(self, key, value):
        super().__setitem__(key, to_store(value))


class Job(job.Job):
    """A job that remembers site, user and request, to run as if with them.

    The application root, the site, the user and a request are restored before
    the call, kept until its transaction is committed or aborted, and taken
    away.  Where the site or the user is gone by then, the result is the Failure
    of a `ContextGone` and nothing is called.  All is found in the job's own
    connection, so that effects and completion stay one transaction.

    Callable and arguments may be acquisition wrappers and their methods: they
    are stored by their paths and found again when the job runs.  What it
    returns is stored without a wrapper.
    """

    _site = z3.Kept()
    _user_folder = z3.Kept()
    _user_id = z3.Kept()
    #: What URLs begin with: scheme, host and port.
    server_url = z3.Kept(NOWHERE)
    #: What comes next in URLs, a tuple of quoted steps.
    script = z3.Kept(())
    #: The path of the object that URLs are relative to, a tuple.
    virtual_root = z3.Kept(('',))
    #: The languages that the browser asked for, as in the header.
    accept_language = z3.Kept('')
    #: The language that was chosen (``request['LANGUAGE']``), or None.
    language = z3.Kept()
    #: Dotted names of the layers that the request provided; None: the default.
    layers = z3.Kept()

    def __init__(self, *args, **kwargs):
        super().__init__(*args[:1])
        self.args = args[1:]
        self.kwargs = kwargs
        self.site = zope.component.hooks.getSite()
        self.user = _current_user()
        self._remember_request()

    # What is called

    @property
    def callable(self):
        """See `IJob`.  A `Located` stands for it unless a job of this kind runs."""
        stored = super().callable
        return stored if _app.get() is None else _unwrapping(to_use(stored))

    @callable.setter
    def callable(self, value):
        stored = to_store(value)
        job.Job.callable.fset(self, stored)
        if isinstance(stored, Located):
            self._call.kind = describe.kind(
                getattr(stored.obj, stored.method) if stored.method else stored.obj)

    @property
    def args(self):
        """See `IJob`."""
        return _Args(self._call)

    @args.setter
    def args(self, value):
        self._call.args = tuple(map(to_store, value))

    @property
    def kwargs(self):
        """See `IJob`."""
        return _Kwargs(self._call)

    @kwargs.setter
    def kwargs(self, value):
        self._call.kwargs = {name: to_store(each) for name, each in value.items()} or None

    # Where and for whom

    @property
    def site(self):
        """The path of the site to run in, a tuple, or None.  To be set to a site."""
        return None if self._site is None else self._site.path

    @site.setter
    def site(self, site):
        self._site = None if site is None else located(site)

    @property
    def user(self):
        """``(path of the user folder, user id)``, or None for the anonymous one.

        To be set to a user of a folder, or to None.
        """
        if self._user_folder is None:
            return None
        return self._user_folder.path, self._user_id

    @user.setter
    def user(self, user):
        folder, user_id = (None, None) if user is None else _user_address(user)
        self._user_folder, self._user_id = folder, user_id

    def _remember_request(self):
        from zope.globalrequest import getRequest
        request = getRequest()
        if request is None:
            return
        self.server_url = request['SERVER_URL']
        self.script = tuple(request._script)
        self.virtual_root = tuple(request.other.get('VirtualRootPhysicalPath', ('',)))
        self.accept_language = request.environ.get('HTTP_ACCEPT_LANGUAGE', '')[:LONGEST]
        self.language = request.other.get('LANGUAGE')
        self.layers = tuple(each.__identifier__ for each
                            in zope.interface.directlyProvidedBy(request))

    # Running

    def setUp(self):
        """Restore what the job was made with; return how to take it away."""
        with contextlib.ExitStack() as undo:
            request = _request_for(self)
            undo.callback(request.clear)
            undo.enter_context(_current_request(request))
            undo.enter_context(_current_app(self._application(request)))
            undo.enter_context(z3.no_interaction())
            undo.enter_context(_no_user())
            self._enter(request, undo)
            return undo.pop_all()

    def tearDown(self, setup_info):
        """Take away what `setUp` restored."""
        setup_info.close()

    def _enter(self, request, undo):
        from AccessControl.security import newInteraction
        request['PARENTS'] = [_app.get()]
        request.setVirtualRoot(list(map(urllib.parse.unquote, self.script)))
        request.other['VirtualRootPhysicalPath'] = self.virtual_root
        request['ACTUAL_URL'] = request['URL']
        site = None if self._site is None else self._site.find('site')
        undo.enter_context(z3.current_site(site))
        if self._user_folder is not None:
            self._become_user(request)
        newInteraction()

    def _application(self, request):
        """Return the application root in the job's own transaction."""
        from ZPublisher.BaseRequest import RequestContainer
        if self._p_jar is None:
            raise ContextGone(f'{self!r} is in no database, and so in no application; '
                              f'put it into a queue and commit')
        own = self._p_jar.db()
        names = sorted(own.databases, key=lambda name: (name != own.database_name, name))
        for name in names:
            root = self._p_jar.get_connection(name).root()
            if 'Application' in root:
                return root['Application'].__of__(RequestContainer(REQUEST=request))
        raise ContextGone(f'none of the databases {names} has an application root')

    def _become_user(self, request):
        from AccessControl.SecurityManagement import newSecurityManager
        from Acquisition import aq_base
        folder = self._user_folder.find('user folder')
        user = folder.getUserById(self._user_id)
        # one who goes by another id is somebody else, of more rights perhaps
        if user is None or user.getId() != self._user_id:
            raise ContextGone(f'the user {self._user_id!r}, for whom the job was to run, '
                              f'is gone from {self._user_folder.shown()}')
        if aq_base(user) is user:
            user = user.__of__(folder)
        newSecurityManager(None, user)
        request['AUTHENTICATED_USER'] = user


def _unwrapping(call):
    """Return *call* made to return what it does without an acquisition wrapper.

    A wrapper would keep the request, and with it this context, alive in the
    job that a connection caches.
    """
    from Acquisition import aq_base

    @functools.wraps(call, updated=())
    def calling(*args, **kwargs):
        return aq_base(call(*args, **kwargs))

    return calling


def _current_user():
    """Return the user of this thread; None for the anonymous one."""
    from AccessControl import SpecialUsers
    from AccessControl.SecurityManagement import getSecurityManager
    from Acquisition import aq_base
    user = getSecurityManager().getUser()
    return None if aq_base(user) is SpecialUsers.nobody else user


def _user_address(user):
    """Return the `Located` user folder and the id of *user*."""
    from Acquisition import aq_inner
    from Acquisition import aq_parent
    folder, user_id = aq_parent(aq_inner(user)), user.getId()
    if folder is None or user_id is None:
        raise ValueError(
            f'a job cannot run as {user.getUserName()!r}, who is no user of a user '
            f'folder; make it as one who is, or as nobody')
    return located(folder), user_id


def _request_for(job):
    """Return a request as *job* was made with."""
    from zope.publisher.http import splitport
    from ZPublisher.HTTPRequest import HTTPRequest
    from ZPublisher.HTTPResponse import HTTPResponse
    scheme, _separator, host = job.server_url.partition('://')
    name, port = splitport(host)
    environ = {
        'REQUEST_METHOD': 'GET', 'SERVER_URL': job.server_url, 'HTTP_HOST': host,
        'wsgi.url_scheme': scheme, 'SERVER_NAME': name,
        'SERVER_PORT': port or ('443' if scheme == 'https' else '80')}
    if job.accept_language:
        environ['HTTP_ACCEPT_LANGUAGE'] = job.accept_language
    request = HTTPRequest(io.BytesIO(), environ, HTTPResponse(stdout=io.BytesIO()))
    if job.language is not None:
        request['LANGUAGE'] = job.language
    _add_layers(request, job.layers)
    return request


def _add_layers(request, names):
    from zope.publisher.skinnable import setDefaultSkin
    if names is None:
        setDefaultSkin(request)
    else:
        zope.interface.directlyProvides(request, *map(_layer, names))


def _layer(name):
    try:
        found = namedAny(name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not isinstance(found, InterfaceClass):
        raise ContextGone(f'the browser layer {name}, with which the job was to run, '
                          f'is gone')
    return found


@contextlib.contextmanager
def _current_request(request):
    from zope.globalrequest import clearRequest
    from zope.globalrequest import getRequest
    from zope.globalrequest import setRequest
    before = getRequest()
    setRequest(request)
    try:
        yield
    finally:
        if before is None:
            clearRequest()
        else:
            setRequest(before)


@contextlib.contextmanager
def _current_app(app):
    token = _app.set(app)
    try:
        yield
    finally:
        _app.reset(token)


@contextlib.contextmanager
def _no_user():
    """Within, the user is anonymous unless another is set there."""
    from AccessControl import SecurityManagement as management
    before, known = management.getSecurityManager(), _current_user() is not None
    management.noSecurityManager()
    try:
        yield
    finally:
        management.noSecurityManager()
        if known:
            management.setSecurityManager(before)
