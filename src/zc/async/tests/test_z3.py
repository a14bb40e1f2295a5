"""Jobs of the Zope Toolkit run in their site, for their principals."""
import importlib
import threading
import unittest

import persistent.mapping
import transaction
import ZODB.POSException
import zope.component
import zope.interface
from ZODB.broken import broken_cache
from zope.authentication.interfaces import IAuthentication
from zope.authentication.interfaces import PrincipalLookupError
from zope.component.hooks import getSite
from zope.component.hooks import setHooks
from zope.component.hooks import setSite
from zope.location.interfaces import IRoot
from zope.security import management
from zope.security.interfaces import IParticipation
from zope.security.interfaces import IPrincipal
from zope.site.folder import Folder
from zope.site.folder import rootFolder
from zope.site.site import LocalSiteManager

from .. import z3
from ..interfaces import COMPLETED
from ..job import Job as PlainJob
from ..threadlocal import local
from ..z3 import ContextGone
from ..z3 import Job
from .test_dispatcher import VirtualCase


@zope.interface.implementer(IPrincipal)
class Principal(persistent.Persistent):

    title = description = ''

    def __init__(self, principal_id):
        self.id = principal_id


@zope.interface.implementer(IAuthentication)
class Staff(persistent.Persistent):
    """A real, local authentication utility with a list of principals."""

    __parent__ = __name__ = None

    def __init__(self, *ids):
        self.principals = {each: Principal(each) for each in ids}

    def getPrincipal(self, principal_id):
        try:
            return self.principals[principal_id]
        except KeyError:
            raise PrincipalLookupError(principal_id) from None

    def remove(self, principal_id):
        del self.principals[principal_id]
        self._p_changed = True


class Lost(Folder):
    """A site whose code goes away."""


class BadHook(Exception):
    """A hook that is called before the commit fails."""


#: What was seen, in order; by name, since jobs store functions by name.
seen = []
meet = {}


def context():
    """Return (name of the site, ids of the principals) here and now."""
    site, interaction = getSite(), management.queryInteraction()
    name = site if site is None else site.__name__
    return name, None if interaction is None else tuple(
        each.principal.id for each in interaction.participations)


def look(*args):
    seen.append(context())
    return context()


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


def leave_a_mess():
    """Change what a job should not: site and interaction."""
    setSite(None)
    management.endInteraction()
    management.newInteraction(z3.Participation(Principal('mallory')))


def count(counter):
    """Change *counter*, which another connection has changed the first time."""
    look()
    seen_before = counter.get('n', 0)
    if meet.pop('conflict', None):
        other = threading.Thread(target=add_elsewhere, args=(counter._p_jar.db(),))
        other.start()
        other.join()
    counter['n'] = seen_before + 1


def add_elsewhere(db):
    manager = transaction.TransactionManager()
    connection = db.open(transaction_manager=manager)
    connection.root()['counter']['n'] = 10
    manager.commit()
    connection.close()


def call_another(job):
    """Run *job* here, in the middle of this one."""
    look()
    job()
    look()


class ContextCase(VirtualCase):
    """Two sites with staff of their own, and one thread that works."""

    def setUp(self):
        super().setUp()
        self.addCleanup(seen.clear)
        self.addCleanup(meet.clear)
        setHooks()
        self.addCleanup(setSite)
        self.addCleanup(management.endInteraction)
        root = self.connection.root()
        self.root = root['Application'] = rootFolder()
        root['counter'] = persistent.mapping.PersistentMapping()
        self.branch = self.add_site('branch', 'bob', 'eve')
        self.other = self.add_site('other', 'bob')
        self.agents['main'].size = 1
        transaction.commit()

    def add_site(self, name, *ids):
        self.root[name] = site = Folder()
        site.setSiteManager(LocalSiteManager(site))
        site.getSiteManager().registerUtility(Staff(*ids), IAuthentication)
        return site

    def staff(self, site):
        return site.getSiteManager().getUtility(IAuthentication)

    def made(self, *args, site=None, ids=(), kind=Job):
        """Return a job that was made in *site*, for the principals *ids*."""
        setSite(site)
        if ids:
            management.newInteraction(*[
                z3.Participation(Principal(each)) for each in ids])
        try:
            return kind(*args)
        finally:
            setSite()
            management.endInteraction()

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
        seen_before, seen[:] = list(seen), []
        plain = self.put(PlainJob(look))
        self.poll()
        transaction.begin()
        self.assertIs(plain.status, COMPLETED)
        self.assertEqual(plain.result, (None, None))
        seen[:] = seen_before

    def assert_gone(self, job, *words):
        transaction.begin()
        self.assertIs(job.status, COMPLETED)
        self.assertIs(job.result.type, ContextGone)
        message = job.result.getErrorMessage()
        for word in words:
            self.assertIn(word, message)
        self.assertNotIn('\n', message)


class Capture(ContextCase):

    def test_site_and_participants_are_those_of_the_moment(self):
        job = self.made(look, site=self.branch, ids=('bob', 'eve'))
        self.assertIs(job.site, self.branch)
        self.assertEqual(job.participants, ('bob', 'eve'))

    def test_without_any_they_are_none_and_empty(self):
        job = self.made(look)
        self.assertIsNone(job.site)
        self.assertEqual(job.participants, ())

    def test_both_can_be_changed_also_when_the_job_was_put(self):
        job = self.put(self.made(look, site=self.other, ids=['bob']))
        job.site, job.participants = self.branch, ['eve']
        transaction.commit()
        self.finish(job)
        self.assertEqual(job.result, ('branch', ('eve',)))
        self.assertEqual(job.participants, ('eve',))

    def test_a_string_is_no_sequence_of_ids(self):
        with self.assertRaisesRegex(TypeError, "write .'bob',."):
            self.made(look).participants = 'bob'

    def test_a_proxied_site_is_stored_without_its_proxy(self):
        from zope.security.checker import ProxyFactory
        job = self.made(look)
        job.site = ProxyFactory(self.branch)
        self.assertIs(job.site, self.branch)
        self.assertIs(type(job.site), Folder)

    def test_a_participation_is_one(self):
        principal = Principal('bob')
        found = z3.Participation(principal)
        self.assertTrue(IParticipation.providedBy(found))
        self.assertIs(found.principal, principal)
        self.assertIsNone(found.interaction)

    def test_the_documented_spelling(self):
        self.assertIs(importlib.import_module('zc.async_.z3').Job, Job)


class Run(ContextCase):

    def test_the_call_sees_site_and_principals(self):
        job = self.run_job(look, site=self.branch, ids=('bob', 'eve'))
        self.assertEqual(job.result, ('branch', ('bob', 'eve')))

    def test_hooks_before_the_commit_see_them(self):
        self.run_job(look_until_commit, site=self.branch, ids=['bob'])
        self.assertEqual(seen, 2 * [('branch', ('bob',))])

    def test_each_attempt_sees_them(self):
        self.run_job(look_until_commit, 2, site=self.branch, ids=['bob'])
        self.assertEqual(seen, 6 * [('branch', ('bob',))])

    def test_a_real_conflict_is_retried_in_them(self):
        meet['conflict'] = True
        job = self.run_job(count, self.connection.root()['counter'],
                           site=self.branch, ids=['bob'])
        self.assertEqual(seen, 2 * [('branch', ('bob',))])
        self.assertIsNone(job.result)
        self.assertEqual(self.connection.root()['counter']['n'], 11)

    def test_without_a_site_principals_are_those_of_everywhere(self):
        zope.component.getGlobalSiteManager().registerUtility(
            Staff('root'), IAuthentication)
        self.assertEqual(self.run_job(look, ids=['root']).result, (None, ('root',)))

    def test_without_principals_there_is_no_interaction(self):
        self.assertEqual(self.run_job(look, site=self.branch).result, ('branch', None))

    def test_nothing_is_left_after_an_error(self):
        for call, error in ((fail, ValueError), (hook_fails, BadHook)):
            with self.subTest(error):
                job = self.run_job(call, site=self.branch, ids=['bob'])
                self.assertIs(job.result.type, error)
                self.assertEqual(seen.pop(), ('branch', ('bob',)))

    def test_nothing_is_left_of_a_mess_that_the_call_made(self):
        job = self.run_job(leave_a_mess, site=self.branch, ids=['bob'])
        self.assertIsNone(job.result)

    def test_jobs_in_a_row_see_their_own(self):
        jobs = [self.put(self.made(look, site=site, ids=ids)) for site, ids in (
            (self.branch, ['eve']), (None, ()), (self.other, ['bob']))]
        self.finish(*jobs)
        self.assertEqual([job.result for job in jobs], [
            ('branch', ('eve',)), (None, None), ('other', ('bob',))])

    def test_callbacks_run_in_their_own(self):
        job = self.made(look, site=self.branch, ids=['eve'])
        after = job.addCallback(self.made(look, site=self.other, ids=['bob']))
        last = after.addCallbacks(failure=None, success=self.made(
            look, site=self.branch, ids=['bob'])).success
        self.put(job)
        self.finish(job, after, last)
        self.assertEqual([job.result, after.result, last.result], [
            ('branch', ('eve',)), ('other', ('bob',)), ('branch', ('bob',))])

    def test_effects_and_completion_are_one_commit(self):
        counter = self.connection.root()['counter']
        job = self.run_job(count, counter, site=self.branch, ids=['bob'])
        [settled] = [each['tid'] for each in self.db.history(counter._p_oid)[:1]]
        self.assertIn(settled, [each['tid'] for each in self.db.history(job._p_oid, 9)])

    def test_a_subclass_resolves_what_it_calls_in_them(self):
        job = self.run_job(look, site=self.branch, ids=['bob'], kind=Late)
        self.assertEqual(job.result, ('branch', ('bob',)))
        self.assertIn(('branch', ('bob',)), seen[:-1])


class Late(Job):
    """As clients write them: what is called depends on what setUp prepared."""

    @property
    def callable(self):
        seen.append(context())
        return super().callable

    @callable.setter
    def callable(self, value):
        Job.callable.fset(self, value)


class Direct(ContextCase):
    """A job that is called where there is an interaction already."""

    def enter(self):
        setSite(self.other)
        management.newInteraction(z3.Participation(Principal('caller')))
        self.interaction = management.getInteraction()

    def assert_as_before(self):
        self.assertIs(management.getInteraction(), self.interaction)
        self.assertIs(getSite(), self.other)

    def test_the_callers_interaction_is_put_aside_and_back(self):
        job = self.made(look, site=self.branch, ids=['bob'])
        self.enter()
        job()
        self.assertEqual(job.result, ('branch', ('bob',)))
        self.assert_as_before()

    def test_it_is_not_lent_to_a_job_without_principals(self):
        job = self.made(look)
        self.enter()
        job()
        self.assertEqual(job.result, (None, None))
        self.assert_as_before()

    def test_restoring_still_restores_what_it_would_have(self):
        management.newInteraction(z3.Participation(Principal('earlier')))
        earlier = management.getInteraction()
        management.endInteraction()
        setSite(self.branch)
        job = Job(look)
        job.participants = ['bob']
        job()
        management.restoreInteraction()
        self.assertIs(management.getInteraction(), earlier)

    def test_an_error_before_the_call_leaves_all_as_it_was(self):
        job = self.made(look, site=self.branch, ids=['nobody'])
        self.enter()
        self.assertRaises(ContextGone, job.setUp)
        self.assert_as_before()

    def test_what_setUp_did_is_undone_when_tearDown_says_so(self):
        job = self.made(look, site=self.branch, ids=['bob'])
        setup_info = job.setUp()
        self.assertEqual(context(), ('branch', ('bob',)))
        job.tearDown(setup_info)
        self.assertEqual(context(), (None, None))

    def test_a_job_within_a_job(self):
        inner = self.made(look, site=self.other, ids=['bob'])
        self.run_job(call_another, inner, site=self.branch, ids=['eve'])
        self.assertEqual(seen, [('branch', ('eve',)), ('other', ('bob',)),
                                ('branch', ('eve',))])


class Gone(ContextCase):
    """What a job needs is gone: it fails, and is never run otherwise."""

    def run_without(self, change, **kw):
        """Put a job, let *change* happen, run the job and return it."""
        job = self.put(self.made(look, **kw))
        change()
        transaction.commit()
        self.finish(job)
        self.assertEqual(seen, [])
        return job

    def test_a_principal(self):
        job = self.run_without(lambda: self.staff(self.branch).remove('eve'),
                               site=self.branch, ids=['bob', 'eve'])
        self.assert_gone(job, "principal 'eve'", 'gone')

    def test_a_principal_of_the_same_id_elsewhere_is_another(self):
        zope.component.getGlobalSiteManager().registerUtility(
            Staff('bob'), IAuthentication)
        job = self.run_without(lambda: self.staff(self.branch).remove('bob'),
                               site=self.branch, ids=['bob'])
        self.assert_gone(job, "principal 'bob'")

    def test_one_who_is_found_but_goes_by_another_id(self):
        def rename():
            staff = self.staff(self.branch)
            staff.principals['bob'] = Principal('admin')
            staff._p_changed = True

        job = self.run_without(rename, site=self.branch, ids=['bob'])
        self.assert_gone(job, "principal 'bob'")

    def test_everyone_who_could_find_a_principal(self):
        def unregister():
            registry = self.branch.getSiteManager()
            registry.unregisterUtility(provided=IAuthentication)

        job = self.run_without(unregister, site=self.branch, ids=['bob'])
        self.assert_gone(job, 'IAuthentication', "'bob'")

    def remove_branch(self):
        del self.root['branch']

    def test_a_site(self):
        job = self.run_without(self.remove_branch, site=self.branch, ids=['bob'])
        self.assert_gone(job, 'site', 'removed')

    def test_a_site_whose_place_another_has_taken(self):
        def replace():
            del self.root['branch']
            self.add_site('branch', 'bob')

        job = self.run_without(replace, site=self.branch, ids=['bob'])
        self.assert_gone(job, 'site', 'removed')

    def test_a_site_within_what_was_removed(self):
        inner = self.branch['inner'] = Folder()
        inner.setSiteManager(LocalSiteManager(inner))
        transaction.commit()
        job = self.run_without(self.remove_branch, site=inner)
        self.assert_gone(job, 'site', 'removed')

    def test_a_site_that_moved_is_not_gone(self):
        job = self.put(self.made(look, site=self.branch, ids=['bob']))
        del self.root['branch']
        self.other['moved'] = self.branch
        transaction.commit()
        self.finish(job)
        self.assertEqual(job.result, ('moved', ('bob',)))

    def test_a_site_without_a_place_never_had_one(self):
        site = self.connection.root()['lonely'] = Folder()
        site.__name__ = 'lonely'
        site.setSiteManager(LocalSiteManager(site))
        self.assertEqual(self.run_job(look, site=site).result, ('lonely', None))

    def test_the_code_of_a_site(self):
        lost = self.root['lost'] = Lost()
        lost.setSiteManager(LocalSiteManager(lost))
        job = self.put(self.made(look, site=lost))
        self.addCleanup(setattr, importlib.import_module(__name__), 'Lost', Lost)
        del globals()['Lost']
        self.forget_classes()
        self.poll()
        self.assert_gone(job, 'site', 'code')

    def forget_classes(self):
        """Let connections load classes again, as in another process."""
        self.connection.cacheMinimize()
        self.addCleanup(broken_cache.clear)

    def test_in_a_callback(self):
        job = self.made(look, site=self.other, ids=['bob'])
        after = job.addCallback(self.made(look, site=self.branch, ids=['eve']))
        last = after.addCallback(PlainJob(repr))
        self.put(job)
        self.staff(self.branch).remove('eve')
        transaction.commit()
        self.finish(job, after, last)
        self.assert_gone(after, "principal 'eve'")
        self.assertIn('ContextGone', last.result)
        self.assertEqual(seen, [('other', ('bob',))])

    def test_the_thread_works_on(self):
        self.run_without(self.remove_branch, site=self.branch)
        job = self.run_job(look, site=self.other, ids=['bob'])
        self.assertEqual(job.result, ('other', ('bob',)))
        self.assertIsNone(local.job)


class Root(unittest.TestCase):

    def test_the_root_folder_counts_as_placed(self):
        root = rootFolder()
        self.assertTrue(IRoot.providedBy(root))
        job = Job(look)
        root.setSiteManager(LocalSiteManager(root))
        job.site = root
        self.assertTrue(job._placed)

    def test_a_parent_has_to_know_its_child(self):
        root, child = rootFolder(), Folder()
        child.__parent__, child.__name__ = root, 'child'
        self.assertFalse(z3._is_placed(child))
        root['child'] = child
        self.assertTrue(z3._is_placed(child))

    def test_a_ring_of_parents_is_no_place(self):
        one, other = Principal('one'), Principal('other')
        one.__parent__, other.__parent__ = other, one
        self.assertFalse(z3._is_placed(one))
