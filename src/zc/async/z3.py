"""Jobs that run in the site, and for the principals, for which they were made.

For the Zope Toolkit; needs what the extra ``zope`` installs.  Loading a stored
job needs none of it, so that any process can look at the queue.
"""
import contextlib

import persistent
import zope.component.hooks
import zope.interface
from ZODB.broken import Broken

from . import describe
from . import job
from .interfaces import AsyncError

try:
    from zope.security.interfaces import IParticipation
except ImportError:  # without the extra, nobody takes part in anything
    IParticipation = zope.interface.Interface


class ContextGone(AsyncError):
    """The site, user or other surroundings that a job needs are gone."""


@zope.interface.implementer(IParticipation)
class Participation:
    """The part that *principal* takes in an interaction."""

    interaction = None

    def __init__(self, principal):
        self.principal = principal


class Kept:
    """An attribute of a job that is stored with its call.

    Not in the job's own record: that one must stay storable when the code of
    a site is gone, and is written more often.
    """

    def __init__(self, default=None):
        self._default = default

    def __set_name__(self, owner, name):
        self._name = name

    def __get__(self, job, owner=None):
        return self if job is None else getattr(job._call, self._name, self._default)

    def __set__(self, job, value):
        setattr(job._call, self._name, value)


class Job(job.Job):
    """A job that remembers the current site and interaction, to run in them.

    Both are restored before the call, kept until its transaction is committed
    or aborted, and cleared.  Where the site or a principal is gone by then, the
    result is the Failure of a `ContextGone` and nothing is called.
    """

    _site = Kept()
    _placed = Kept(False)  # whether a root led to the site when it was set
    _participants = Kept(())

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.site = zope.component.hooks.getSite()
        self.participants = _current_participants()

    @property
    def site(self):
        """The site to run in, or None."""
        return self._site

    @site.setter
    def site(self, site):
        from zope.security.proxy import removeSecurityProxy
        self._site = site = removeSecurityProxy(site)
        self._placed = site is not None and _is_placed(site)

    @property
    def participants(self):
        """The ids of the principals to run for, a tuple."""
        return self._participants

    @participants.setter
    def participants(self, ids):
        if isinstance(ids, str):
            raise TypeError(f'participants is a sequence of principal ids, not '
                            f'the string {ids!r}; write ({ids!r},)')
        self._participants = tuple(ids)

    def setUp(self):
        """Enter the site and a new interaction; return how to leave them."""
        with contextlib.ExitStack() as undo:
            # before anything of it is used: it may be no site any more
            self._check_site()
            undo.enter_context(current_site(self.site))
            undo.enter_context(no_interaction())
            self._begin_interaction()
            return undo.pop_all()

    def tearDown(self, setup_info):
        """Leave what `setUp` entered."""
        setup_info.close()

    def _check_site(self):
        site = self.site
        if isinstance(site, persistent.Persistent):
            try:
                site._p_activate()
            except KeyError:
                raise ContextGone(f'the site {describe.argument(site)}, in which the '
                                  f'job was to run, is gone from the database') from None
        if isinstance(site, Broken):
            raise ContextGone(f'the site {describe.argument(site)}, in which the job '
                              f'was to run, cannot be loaded without its code')
        if self._placed and not _is_placed(site):
            raise ContextGone(f'the site {describe.argument(site)}, in which the job '
                              f'was to run, was removed from its place')

    def _begin_interaction(self):
        if not self.participants:
            return
        from zope.security.management import newInteraction
        authentication = self._authentication()
        newInteraction(*[Participation(_principal(authentication, principal_id))
                         for principal_id in self.participants])

    def _authentication(self):
        from zope.authentication.interfaces import IAuthentication
        registry = (zope.component.getGlobalSiteManager() if self.site is None
                    else self.site.getSiteManager())
        found = registry.queryUtility(IAuthentication)
        if found is None:
            raise ContextGone(f'no IAuthentication utility can find the principals '
                              f'{self.participants!r}, for whom the job was to run')
        return found


def _current_participants():
    """Return the ids of the principals in this thread's interaction."""
    from zope.security.management import queryInteraction
    interaction = queryInteraction()
    if interaction is None:
        return ()
    return tuple(each.principal.id for each in interaction.participations)


def _principal(authentication, principal_id):
    """Return the principal of that id, or raise `ContextGone`."""
    from zope.authentication.interfaces import PrincipalLookupError
    try:
        found = authentication.getPrincipal(principal_id)
    except PrincipalLookupError:
        found = None
    # one who goes by another id is somebody else
    if found is None or found.id != principal_id:
        raise ContextGone(f'the principal {principal_id!r}, for whom the job was to '
                          f'run, is gone')
    return found


def _is_placed(obj):
    """Return whether a root contains *obj*, at whatever depth."""
    from zope.location.interfaces import IRoot
    seen = set()
    while not IRoot.providedBy(obj):
        parent = getattr(obj, '__parent__', None)
        if parent is None or id(obj) in seen or not _contains(parent, obj):
            return False
        seen.add(id(obj))
        obj = parent
    return True


def _contains(parent, obj):
    """Return whether *parent* has *obj*; one that is no container is believed."""
    from zope.proxy import sameProxiedObjects
    get, name = getattr(parent, 'get', None), getattr(obj, '__name__', None)
    if get is None:
        return True
    return name is not None and sameProxiedObjects(get(name), obj)


@contextlib.contextmanager
def current_site(site):
    """Within, *site* is this thread's site; None: it has none."""
    before = zope.component.hooks.getSite()
    zope.component.hooks.setSite(site)
    try:
        yield
    finally:
        zope.component.hooks.setSite(before)


@contextlib.contextmanager
def no_interaction():
    """Within, this thread has no interaction but what is begun there.

    One that it had is put aside, and is back afterwards as if nothing had been.
    """
    from zope.security.management import thread_local
    names = 'interaction', 'previous_interaction'
    mine = vars(thread_local)
    before = {name: mine.pop(name) for name in names if name in mine}
    try:
        yield
    finally:
        for name in names:
            mine.pop(name, None)
        mine.update(before)
