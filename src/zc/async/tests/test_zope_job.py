"""Jobs of Zope, the application server: real user folders, sites and requests.

Skipped where Zope is not installed, as in the development environment.  Where
it is, beside zc.async, ``python -m unittest zc.async.tests.test_zope_job`` runs
these tests.
"""
import base64
import importlib
import io
import threading
import unittest

import persistent
import transaction
import ZODB
import ZODB.POSException
import zope.component
import zope.interface
from ZODB.DemoStorage import DemoStorage

from .. import interfaces
from .. import subscribers
from ..interfaces import COMPLETED
from ..job import Job as PlainJob
from ..z3 import ContextGone
from ..zope2 import Job
from ..zope2 import Located
from .test_dispatcher import VirtualCase

try:
    import Zope2  # noqa: F401 the tests are skipped without it
    import zope.component.event
    from AccessControl import SpecialUsers
    from AccessControl.SecurityManagement import getSecurityManager
    from AccessControl.SecurityManagement import newSecurityManager
    from AccessControl.SecurityManagement import noSecurityManager
    from AccessControl.users import UnrestrictedUser
    from Acquisition import aq_base
    from Acquisition import aq_inner
    from Acquisition import aq_parent
    from OFS.Application import Application
    from OFS.Folder import Folder
    from OFS.SimpleItem import SimpleItem
    from OFS.userfolder import UserFolder
    from Products.Five.component import enableSite
    from Products.SiteAccess.VirtualHostMonster import VirtualHostMonster
    from ZPublisher.BaseRequest import RequestContainer
    from ZPublisher.HTTPRequest import HTTPRequest
    from ZPublisher.HTTPResponse import HTTPResponse
    from zope.component.hooks import getSite
    from zope.component.hooks import setHooks
    from zope.component.hooks import setSite
    from zope.component.interfaces import ISite
    from zope.component.persistentregistry import PersistentComponents
    from zope.globalrequest import clearRequest
    from zope.globalrequest import getRequest
    from zope.globalrequest import setRequest
    from zope.publisher.browser import BrowserLanguages
    from zope.publisher.interfaces.browser import IDefaultBrowserLayer
    from zope.publisher.interfaces.http import IHTTPRequest
    from zope.publisher.skinnable import setDefaultSkin
    from zope.security import management
    from zope.site.site import threadSiteSubscriber
    from zope.traversing.interfaces import IBeforeTraverseEvent
except ImportError:
    Zope2 = None
    Folder = SimpleItem = object

needs_zope = unittest.skipIf(
    Zope2 is None, 'Zope is not installed: pip install "zc.async[zope2]"')

#: What was seen, in order; by name, since jobs store functions by name.
seen = []
meet = {}


class IGreen(zope.interface.Interface):
    """A browser layer."""


class ILeaf(IGreen):
    """Another one."""


class BadHook(Exception):
    """A hook that is called before the commit fails."""


class Doc(SimpleItem):
    """Content."""

    meta_type = 'Doc'

    def __init__(self, doc_id):
        self.id = doc_id

    def index_html(self):
        """Be published."""

    def look(self, *args):
        """Return what is around, and where it was found."""
        return {**look(), 'parent': aq_parent(aq_inner(self)).getId(),
                'url': self.absolute_url(), 'asked': self.REQUEST is getRequest()}

    def retitle(self, title):
        look()
        self.title = title
        return self

    def __call__(self):
        return self.look()


def look(*args):
    """Return who is asked for what, where; the short form is noted."""
    user, site, request = getSecurityManager().getUser(), getSite(), getRequest()
    folder = aq_parent(aq_inner(user))
    seen.append((user.getId(), site and site.getId()))
    return {
        'user': user.getId(), 'roles': sorted(user.getRoles()),
        'folder': folder and '/'.join(folder.getPhysicalPath()),
        'site': site and '/'.join(site.getPhysicalPath()),
        'interaction': management.queryInteraction() is not None,
        'request': request is not None}


def look_until_commit(fails=0):
    """Look now and before the commit; let that *fails* times not succeed."""
    look()
    transaction.get().addBeforeCommitHook(look_and_fail, (fails,))


def look_and_fail(fails):
    look()
    if len(seen) <= 2 * fails:
        raise ZODB.POSException.ConflictError('not yet')


def hook_fails():
    transaction.get().addBeforeCommitHook(raise_bad_hook)


def raise_bad_hook():
    look()
    raise BadHook


def fail():
    look()
    raise ValueError('the call failed')


def remember():
    meet['request'] = getRequest()


def become_root():
    """Change what a job should not: user, site and request."""
    newSecurityManager(None, SpecialUsers.system)
    setSite(None)
    clearRequest()
    management.endInteraction()


def ask(*args):
    """Return what the request says."""
    request = getRequest()
    locale = request.locale
    return {
        'server': request['SERVER_URL'], 'url': request['URL'],
        'language': request.get('LANGUAGE'), 'locale': locale and locale.id.language,
        'green': IGreen.providedBy(request), 'leaf': ILeaf.providedBy(request),
        'default': IDefaultBrowserLayer.providedBy(request),
        'user': request.get('AUTHENTICATED_USER') and
        request['AUTHENTICATED_USER'].getId()}


def paths(*objs, **named):
    """Return the paths of *objs*; wrapped in the request, every one."""
    every = [*objs, *named.values()]
    assert all(each.REQUEST is getRequest() for each in every)
    return ['/'.join(each.getPhysicalPath()) for each in every]


def count(doc):
    """Change *doc*, which another connection has changed the first time."""
    look()
    before = doc.n if hasattr(aq_base(doc), 'n') else 0
    if meet.pop('conflict', None):
        other = threading.Thread(target=add_elsewhere, args=(doc._p_jar.db(),))
        other.start()
        other.join()
    doc.n = before + 1


def add_elsewhere(db):
    manager = transaction.TransactionManager()
    connection = db.open(transaction_manager=manager)
    connection.root()['Application'].site.doc.n = 10
    manager.commit()
    connection.close()


def call_another(job):
    """Run *job* here, in the middle of this one."""
    look()
    job()
    look()


@needs_zope
class ZopeCase(VirtualCase):
    """An application with users, and two sites with users of their own."""

    def setUp(self):
        super().setUp()
        for clean in (seen.clear, meet.clear, self.leave):
            self.addCleanup(clean)
        setHooks()
        zope.component.provideHandler(zope.component.event.objectEventNotify)
        zope.component.provideHandler(
            threadSiteSubscriber, (ISite, IBeforeTraverseEvent))
        zope.component.provideAdapter(BrowserLanguages, (IHTTPRequest,))
        self.agents['main'].size = 1
        root = self.connection.root()
        root['Application'] = Application()
        self.app = root['Application'].__of__(
            RequestContainer(REQUEST=self.request()))
        self.add_users(self.app, bob=['Manager'], admin=['Manager'])
        self.app._setObject('virtual_hosting', VirtualHostMonster())
        self.site = self.add_site('site', bob=['Editor'], eve=['Reader'])
        self.other = self.add_site('other', bob=['Owner'])
        transaction.commit()

    def add_site(self, name, **users):
        self.app._setObject(name, Folder(name))
        site = self.app._getOb(name)
        enableSite(site)
        site.setSiteManager(PersistentComponents(
            name, (zope.component.getGlobalSiteManager(),)))
        site._setObject('doc', Doc('doc'))
        self.add_users(site, **users)
        return site

    def add_users(self, where, **users):
        if 'acl_users' not in where.objectIds():
            where._setObject('acl_users', UserFolder())
        for name, roles in users.items():
            where.acl_users._doAddUser(name, 'secret', roles, [])

    def request(self, **environ):
        environ = {'SERVER_NAME': 'localhost', 'SERVER_PORT': '8080',
                   'REQUEST_METHOD': 'GET', **environ}
        return HTTPRequest(io.BytesIO(), environ, HTTPResponse(stdout=io.BytesIO()))

    def visit(self, path, user=None, layers=(), language=None, **environ):
        """Publish *path*, up to the call of what is found there; return that.

        As Zope's publisher does it, with a real authentication.
        """
        if user is not None:
            word = base64.b64encode(f'{user}:secret'.encode()).decode()
            environ['HTTP_AUTHORIZATION'] = f'Basic {word}'
        request = self.request(**environ)
        setRequest(request)
        setDefaultSkin(request)
        noSecurityManager()
        management.newInteraction()
        app = self.connection.root()['Application'].__of__(
            RequestContainer(REQUEST=request))
        request['PARENTS'] = [app]
        published = request.traverse(path, validated_hook=newSecurityManager)
        zope.interface.alsoProvides(request, *layers)
        if language:
            request['LANGUAGE'] = language
        return getattr(published, '__self__', published)

    def leave(self):
        """End the request."""
        setSite()
        noSecurityManager()
        clearRequest()
        management.endInteraction()

    def made(self, call, *args, path='/site/doc', user='bob', kind=Job, **kw):
        """Return a job that a user's request made.

        *call* is called with the published object, if it is no function of ours.
        """
        doc = self.visit(path, user, **kw)
        try:
            return kind(call, *args) if callable(call) else kind(
                getattr(doc, call), *args)
        finally:
            self.leave()

    def run_job(self, *args, **kw):
        """Put a job that is made as by `made`, and return it when it is done."""
        job = self.put(self.made(*args, **kw))
        self.finish(job)
        return job

    def finish(self, *jobs):
        for _number in jobs:
            self.poll()
        transaction.begin()
        for job in jobs:
            self.assertIs(job.status, COMPLETED)
        self.assert_clear()

    def assert_clear(self):
        """No context is left in the thread that works."""
        seen_before = list(seen)
        plain = self.put(PlainJob(look))
        self.poll()
        transaction.begin()
        self.assertIs(plain.status, COMPLETED)
        self.assertEqual(plain.result, {
            'user': None, 'roles': ['Anonymous'], 'folder': None, 'site': None,
            'interaction': False, 'request': False})
        seen[:] = seen_before

    def assert_gone(self, job, *words):
        transaction.begin()
        self.assertIs(job.status, COMPLETED)
        self.assertIs(job.result.type, ContextGone)
        message = job.result.getErrorMessage()
        for word in words:
            self.assertIn(word, message)
        self.assertNotIn('\n', message)
        self.assertEqual(seen, [])


class Capture(ZopeCase):

    def test_site_and_user_are_those_of_the_moment(self):
        job = self.made(look)
        self.assertEqual(job.site, ('', 'site'))
        self.assertEqual(job.user, (('', 'site', 'acl_users'), 'bob'))

    def test_outside_a_request_there_are_none(self):
        job = Job(look)
        self.assertIsNone(job.site)
        self.assertIsNone(job.user)
        self.assertEqual(job.server_url, 'http://nohost')

    def test_both_can_be_changed_also_when_the_job_was_put(self):
        job = self.put(self.made(look))
        job.site = self.other
        job.user = self.app.acl_users.getUserById('admin').__of__(self.app.acl_users)
        transaction.commit()
        self.finish(job)
        self.assertEqual(job.result['site'], '/other')
        self.assertEqual((job.result['folder'], job.result['user']),
                         ('/acl_users', 'admin'))

    def test_it_does_not_run_as_one_who_is_in_no_user_folder(self):
        strong = UnrestrictedUser('strong', '', ['Manager'], [])
        for user in (SpecialUsers.system, strong, strong.__of__(self.site.acl_users)):
            newSecurityManager(None, user)
            with self.assertRaisesRegex(ValueError, 'user folder'):
                Job(look)

    def test_an_object_that_has_no_place_is_refused(self):
        for stray in (Doc('stray').__of__(self.site), Doc('doc').__of__(self.site)):
            with self.assertRaisesRegex(ValueError, 'find'):
                Job(stray.look)

    def test_a_user_is_no_object_with_a_path(self):
        folder = self.site.acl_users
        with self.assertRaisesRegex(ValueError, 'find'):
            Job(look, folder.getUserById('bob').__of__(folder))

    def test_the_documented_spelling(self):
        self.assertIs(importlib.import_module('zc.async_.zope2').Job, Job)


class Run(ZopeCase):

    def test_the_call_sees_user_and_site(self):
        self.assertEqual(self.run_job(look).result, {
            'user': 'bob', 'roles': ['Authenticated', 'Editor'],
            'folder': '/site/acl_users', 'site': '/site', 'interaction': True,
            'request': True})

    def test_a_user_of_the_root(self):
        job = self.run_job(look, user='admin')
        self.assertEqual(
            (job.result['folder'], job.result['user'], job.result['site']),
            ('/acl_users', 'admin', '/site'))

    def test_the_anonymous_user(self):
        job = self.run_job(look, user=None)
        self.assertEqual((job.result['user'], job.result['site']), (None, '/site'))
        self.assertEqual(job.result['roles'], ['Anonymous'])

    def test_roles_are_those_of_the_time_it_runs(self):
        job = self.put(self.made(look))
        self.site.acl_users._doChangeUser('bob', None, ['Reader'], [])
        transaction.commit()
        self.finish(job)
        self.assertEqual(job.result['roles'], ['Authenticated', 'Reader'])

    def test_hooks_before_the_commit_see_them(self):
        self.run_job(look_until_commit)
        self.assertEqual(seen, 2 * [('bob', 'site')])

    def test_each_attempt_sees_them(self):
        self.run_job(look_until_commit, 2)
        self.assertEqual(seen, 6 * [('bob', 'site')])

    def test_a_real_conflict_is_retried_in_them(self):
        meet['conflict'] = True
        job = self.run_job(count, self.site.doc)
        self.assertEqual(seen, 2 * [('bob', 'site')])
        self.assertIsNone(job.result)
        self.assertEqual(self.site.doc.n, 11)

    def test_effects_and_completion_are_one_commit(self):
        job = self.run_job('retitle', 'new')
        self.assertEqual(self.site.doc.title, 'new')
        settled = self.db.history(self.site.doc._p_oid)[0]['tid']
        self.assertIn(settled, [each['tid'] for each in self.db.history(job._p_oid, 9)])

    def test_nothing_is_left_after_an_error(self):
        for call, error in ((fail, ValueError), (hook_fails, BadHook)):
            with self.subTest(error):
                job = self.run_job(call)
                self.assertIs(job.result.type, error)
                self.assertEqual(seen.pop(), ('bob', 'site'))

    def test_nothing_is_left_of_a_mess_that_the_call_made(self):
        self.assertIsNone(self.run_job(become_root).result)

    def test_the_request_is_cleared(self):
        self.run_job(remember)
        self.assertEqual(meet['request'].other, {})

    def test_an_application_in_another_database_is_another(self):
        other = ZODB.DB(DemoStorage(), database_name='a', databases=self.db.databases)
        self.addCleanup(other.close)
        self.connection.get_connection('a').root()['Application'] = Application()
        transaction.commit()
        self.assertEqual(self.run_job('look').result['user'], 'bob')

    def test_jobs_in_a_row_see_their_own(self):
        jobs = [self.put(self.made(look, path=path, user=user)) for path, user in (
            ('/site/doc', 'eve'), ('/other/doc', None), ('/other/doc', 'bob'))]
        self.finish(*jobs)
        self.assertEqual(
            [(job.result['folder'], job.result['user']) for job in jobs],
            [('/site/acl_users', 'eve'), (None, None), ('/other/acl_users', 'bob')])

    def test_callbacks_run_in_their_own(self):
        job = self.made(look)
        after = job.addCallback(self.made(look, path='/other/doc'))
        last = after.addCallbacks(success=self.made('look', user='eve')).success
        self.put(job)
        self.finish(job, after, last)
        self.assertEqual(
            [(one.result['folder'], one.result['user']) for one in (job, after, last)],
            [('/site/acl_users', 'bob'), ('/other/acl_users', 'bob'),
             ('/site/acl_users', 'eve')])


class Direct(ZopeCase):
    """A job that is called where there are a user, a site and a request already."""

    def test_the_callers_are_back_afterwards(self):
        self.connection.root()['job'] = job = self.made('look')
        transaction.commit()
        self.visit('/other/doc', 'bob')
        site, request = getSite(), getRequest()
        user, interaction = getSecurityManager().getUser(), management.getInteraction()
        job()
        self.assertEqual(job.result['folder'], '/site/acl_users')
        self.assertIs(getSite(), site)
        self.assertIs(getRequest(), request)
        self.assertIs(getSecurityManager().getUser(), user)
        self.assertIs(management.getInteraction(), interaction)

    def test_they_are_not_lent_to_the_anonymous(self):
        self.connection.root()['job'] = job = Job(look)
        transaction.commit()
        self.visit('/other/doc', 'bob')
        job()
        self.assertEqual((job.result['user'], job.result['site']), (None, None))

    def test_what_setUp_did_is_undone_when_tearDown_says_so(self):
        self.connection.root()['job'] = job = self.made(look)
        transaction.commit()
        setup_info = job.setUp()
        self.assertEqual(look()['user'], 'bob')
        job.tearDown(setup_info)
        self.assertEqual((look()['user'], getRequest()), (None, None))

    def test_what_it_returns_has_no_wrapper(self):
        self.connection.root()['job'] = job = self.made('retitle', 'new')
        transaction.commit()
        self.assertIs(type(job()), Doc)

    def test_a_job_within_a_job(self):
        inner = self.made(look, path='/other/doc')
        self.run_job(call_another, inner, user='eve')
        self.assertEqual(seen, [('eve', 'site'), ('bob', 'other'), ('eve', 'site')])

    def test_one_that_is_in_no_database_has_no_application(self):
        self.assertRaisesRegex(ContextGone, 'no database', self.made(look).setUp)

    def test_an_error_before_the_call_leaves_all_as_it_was(self):
        job = self.put(self.made(look))
        self.site.acl_users._doDelUsers(['bob'])
        self.visit('/other/doc', 'bob')
        site, request = getSite(), getRequest()
        user = getSecurityManager().getUser()
        self.assertRaises(ContextGone, job.setUp)
        self.assertEqual((getSite(), getRequest()), (site, request))
        self.assertIs(getSecurityManager().getUser(), user)


class Wrapped(ZopeCase):
    """Callables and arguments in acquisition context are stored by path."""

    def test_a_method_runs_in_context(self):
        job = self.run_job('look')
        self.assertEqual(job.result['parent'], 'site')
        self.assertEqual(job.result['url'], 'http://localhost:8080/site/doc')
        self.assertTrue(job.result['asked'])

    def test_an_object_that_can_be_called(self):
        doc = self.visit('/site/doc', 'bob')
        job = self.put(Job(doc))
        self.leave()
        self.finish(job)
        self.assertEqual(job.result['parent'], 'site')

    def test_arguments_are_in_context(self):
        doc = self.visit('/site/doc', 'bob')
        job = Job(paths, doc, other=self.other)
        job.args.append(self.site)
        job.args.extend([self.app])
        job.kwargs['doc'] = self.other.doc
        self.leave()
        self.put(job)
        self.finish(job)
        self.assertEqual(
            job.result, ['/site/doc', '/site', '', '/other', '/other/doc'])

    def test_arguments_that_are_set(self):
        job = self.made(paths)
        job.args = [self.site, self.other]
        job.args[0:1] = [self.site.doc]
        job.args.insert(0, self.site)
        job.kwargs = {'last': self.app}
        self.put(job)
        self.finish(job)
        self.assertEqual(job.result, ['/site', '/site/doc', '/other', ''])

    def test_outside_a_run_a_path_stands_for_them(self):
        job = self.made('look', self.site)
        self.assertIsInstance(job.callable, Located)
        self.assertIsInstance(job.args[0], Located)
        self.assertRegex(repr(job), r'``/site/doc :look\(/site\)``')
        self.assertEqual(job.kind, f'{__name__}.Doc.look')
        with self.assertRaisesRegex(ContextGone, 'while its job runs'):
            job.callable()

    def test_what_it_returns_is_stored_without_its_wrapper(self):
        job = self.run_job('retitle', 'new')
        self.assertIs(job.result, aq_base(self.site.doc))
        self.assertIs(type(job.result), Doc)

    def test_one_that_was_made_in_the_same_transaction(self):
        self.site._setObject('new', Doc('new'))
        job = self.put(Job(self.site.new.retitle, 'done'))
        self.finish(job)
        self.assertEqual(self.site.new.title, 'done')

    def test_a_method_of_what_is_not_wrapped_is_stored_as_ever(self):
        job = Job(aq_base(self.site.doc).getId)
        self.assertEqual(job.callable.__self__, aq_base(self.site.doc))
        self.finish(self.put(job))
        self.assertEqual(job.result, 'doc')

    def gone(self, job, change):
        self.put(job)
        change()
        transaction.commit()
        self.poll()
        return job

    def test_a_method_of_an_object_that_is_gone(self):
        job = self.gone(self.made('look'), lambda: self.site._delObject('doc'))
        self.assert_gone(job, 'object', '/site/doc')

    def test_it_does_not_acquire_one_of_the_same_name(self):
        self.app._setObject('doc', Doc('doc'))
        job = self.gone(self.made('look'), lambda: self.site._delObject('doc'))
        self.assert_gone(job, '/site/doc')

    def test_it_does_not_take_another_in_its_place(self):
        def replace():
            self.site._delObject('doc')
            self.site._setObject('doc', Doc('doc'))

        self.assert_gone(self.gone(self.made('look'), replace), 'another object')

    def test_an_argument_that_is_gone(self):
        job = self.gone(self.made(paths, self.other.doc),
                        lambda: self.other._delObject('doc'))
        self.assert_gone(job, '/other/doc')


class Request(ZopeCase):
    """The job has a request like the one that made it."""

    def test_host_and_scheme(self):
        job = self.run_job(ask, HTTP_HOST='example.com', SERVER_PORT_SECURE=1)
        self.assertEqual(job.result['server'], 'https://example.com')

    def test_a_virtual_host(self):
        job = self.run_job('look', path=(
            '/VirtualHostBase/https/www.example.com:8443/site/VirtualHostRoot'
            '/_vh_pre/_vh_a b/doc'))
        self.assertEqual(
            job.result['url'], 'https://www.example.com:8443/pre/a%20b/doc')
        self.assertEqual(job.virtual_root, ('', 'site'))

    def test_the_path_under_which_it_is_served(self):
        job = self.run_job('look', SCRIPT_NAME='/zope')
        self.assertEqual(job.result['url'], 'http://localhost:8080/zope/site/doc')

    def test_a_host_that_is_none(self):
        for host in ('[', 'a:b:c', ':', 'x' * 99):
            with self.subTest(host):
                job = self.run_job(ask, HTTP_HOST=host)
                self.assertEqual(job.result['server'], job.server_url)

    def test_the_languages_that_were_asked_for(self):
        job = self.run_job(ask, HTTP_ACCEPT_LANGUAGE='de,en;q=0.5')
        self.assertEqual(job.result['locale'], 'de')
        self.assertIsNone(job.result['language'])

    def test_the_language_that_was_chosen(self):
        self.assertEqual(self.run_job(ask, language='fr').result['language'], 'fr')

    def test_layers(self):
        job = self.run_job(ask, layers=[ILeaf])
        self.assertTrue(job.result['green'] and job.result['leaf'])
        self.assertTrue(job.result['default'])
        self.assertIn(f'{__name__}.ILeaf', job.layers)

    def test_no_other_layers(self):
        job = self.run_job(ask, layers=[IGreen])
        self.assertTrue(job.result['green'])
        self.assertFalse(job.result['leaf'])

    def test_a_layer_that_is_gone(self):
        for gone in ('zc.nothing.ILayer', f'{__name__}.INothing', f'{__name__}.Doc'):
            with self.subTest(gone):
                job = self.made(look)
                job.layers = (gone,)
                self.put(job)
                self.poll()
                self.assert_gone(job, 'layer', gone)

    def test_without_a_request_it_has_one_from_nowhere(self):
        job = self.put(Job(self.site.doc.look))
        self.finish(job)
        self.assertEqual(job.result['url'], 'http://nohost/site/doc')
        self.assertTrue(job.result['asked'])
        other = self.put(Job(ask))
        self.finish(other)
        self.assertTrue(other.result['default'])

    def test_the_user_is_in_it(self):
        self.assertEqual(self.run_job(ask).result['user'], 'bob')


class Gone(ZopeCase):
    """What a job needs is gone: it fails, and is never run otherwise."""

    def run_without(self, change, *args, **kw):
        """Put a job, let *change* happen, run the job and return it."""
        job = self.put(self.made(look, *args, **kw))
        change()
        transaction.commit()
        self.finish(job)
        return job

    def remove_bob(self):
        self.site.acl_users._doDelUsers(['bob'])

    def test_a_user(self):
        # there are a bob in /acl_users, a Manager, and one in /other/acl_users
        job = self.run_without(self.remove_bob)
        self.assert_gone(job, "user 'bob'", 'gone', '/site/acl_users')

    def test_a_user_folder_though_one_is_acquired(self):
        job = self.run_without(lambda: self.site._delObject('acl_users'))
        self.assert_gone(job, 'user folder', '/site/acl_users')

    def test_a_user_folder_that_moved_up_is_another(self):
        def move():
            folder = aq_base(self.site.acl_users)
            self.site._delObject('acl_users')
            self.app._delObject('acl_users')
            self.app._setObject('acl_users', folder)

        self.assert_gone(self.run_without(move), 'user folder', '/site/acl_users')

    def test_a_user_folder_whose_place_another_has_taken(self):
        def replace():
            self.site._delObject('acl_users')
            self.add_users(self.site, bob=['Manager'])

        self.assert_gone(self.run_without(replace), 'user folder', 'another')

    def test_one_who_is_found_but_goes_by_another_id(self):
        def rename():
            self.site.acl_users.data['bob'].name = 'admin'

        self.assert_gone(self.run_without(rename), "user 'bob'")

    def test_an_emergency_user_of_that_name(self):
        def put_in_place():
            self.remove_bob()
            self.site.acl_users.data['bob'] = Mighty('bob', '', ['Manager'], [])

        self.assert_gone(self.run_without(put_in_place), "user 'bob'")

    def remove_site(self):
        self.app._delObject('site')

    def test_a_site(self):
        job = self.run_without(self.remove_site, user='admin')
        self.assert_gone(job, 'site', '/site')

    def test_a_site_that_moved(self):
        def move():
            site = aq_base(self.site)
            self.remove_site()
            self.other._setObject('site', site)

        self.assert_gone(self.run_without(move, user='admin'), 'site', '/site')

    def test_a_site_whose_place_another_has_taken(self):
        def replace():
            self.remove_site()
            self.add_site('site', bob=['Manager'])

        self.assert_gone(self.run_without(replace), 'site', 'another')

    def test_the_application(self):
        def remove():
            del self.connection.root()['Application']

        self.assert_gone(self.run_without(remove), 'application root')

    def test_in_a_callback(self):
        job = self.made(look, path='/other/doc')
        after = job.addCallback(self.made(look))
        last = after.addCallback(PlainJob(repr))
        self.put(job)
        self.remove_bob()
        transaction.commit()
        self.finish(job, after, last)
        self.assertEqual(seen, [('bob', 'other')])
        seen.clear()
        self.assert_gone(after, "user 'bob'")
        self.assertIn('ContextGone', last.result)

    def test_the_thread_works_on(self):
        self.run_without(self.remove_bob)
        self.assertEqual(self.run_job(look, user='eve').result['user'], 'eve')


if Zope2 is not None:
    class Mighty(UnrestrictedUser, persistent.Persistent):
        """One who may do everything, and has no id."""


class OwnDatabase(ZopeCase):
    """The queues in a database of their own, as many sites have them."""

    def open(self, storage=None):
        databases = {}
        db, _other = (ZODB.DB(DemoStorage(), database_name=name, databases=databases)
                      for name in ('main', 'async'))
        self.addCleanup(db.close)  # the other is in memory, and goes with it
        self.addCleanup(transaction.abort)
        subscribers.multidb_queue_installer(interfaces.DatabaseOpened(db))
        return db

    def test_a_job_there_runs_in_the_application(self):
        job = self.run_job('retitle', 'new')
        self.assertEqual(job._p_jar.db().database_name, 'async')
        self.assertEqual(seen, [('bob', 'site')])
        self.assertEqual(self.site.doc.title, 'new')

    def test_a_new_object_is_stored_where_the_application_is(self):
        self.site._setObject('new', new := Doc('new'))
        job = self.put(Job(self.site.new.retitle, 'done'))
        self.assertIs(new._p_jar, self.connection)
        self.finish(job)
        self.assertEqual(self.site.new.title, 'done')

    def test_where_its_user_is_gone(self):
        job = self.put(self.made('look'))
        self.site.acl_users._doDelUsers(['bob'])
        transaction.commit()
        self.poll()
        self.assert_gone(job, "user 'bob'")


if __name__ == '__main__':
    unittest.main()
