"""The application: its views, and a ZODB connection for each request."""
import random
import time

import persistent
import tally
import transaction
import wordcount
import ZODB
import ZODB.config
from BTrees.IOBTree import IOBTree
from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from ZODB.FileStorage import FileStorage
from zope.processlifetime import DatabaseOpened

from zc.async_ import configure
from zc.async_ import outage
from zc.async_ import subscribers
from zc.async_.interfaces import IQueue
from zc.async_.job import Job


class Library(wordcount.Library, persistent.Persistent):
    """Kept in the database's root."""


# The views

def page(request):
    """Show the page, or do what its form says."""
    root = request.zodb.root()
    if request.method != 'POST':
        return Response(wordcount.page(root.get('library'),
                                       request.GET.get('report', '')))
    if 'library' not in root:
        root['library'] = Library()

    def put(*args):
        return IQueue(request.zodb).put(Job(wordcount.count, *args))

    number = wordcount.answer(root['library'], request.POST, put)
    return HTTPSeeOther(f'{request.path_url}?report={number}')


def tallies(request):
    """Show which effects there are, or put so many jobs that have one each."""
    root = request.zodb.root()
    if request.method != 'POST':
        return Response(tally.page(root.get('tallies', {})))
    if 'tallies' not in root:
        root['tallies'] = IOBTree()
    tally.put(root['tallies'], IQueue(request.zodb), request.POST.get('jobs', '1'))
    return HTTPSeeOther(request.path_url)


# The database

#: How often a request is tried.  Putting a job can conflict with other puts, and
#: with the workers.
ATTEMPTS = 10
#: Seconds that a request which met a conflict waits at most before it is tried
#: again, doubled each time.
PAUSE = 0.01


def open_database(settings):
    """Return the database that is shared with workers, or else this process's own."""
    shared = settings.get('shared')
    if not shared:
        return ZODB.DB(FileStorage(settings['database']))
    if '://' not in shared:
        return ZODB.config.databaseFromURL(shared)
    import zodburi
    # the worker's name for the scheme, and zodburi's
    factory, options = zodburi.resolve_uri(
        shared.replace('postgresql://', 'postgres://', 1))
    return ZODB.DB(factory(), **options)


def transaction_manager(request):
    """The request's own, so that nothing depends on threads."""
    return transaction.TransactionManager(explicit=True)


def connection(request):
    """A connection of the request's own, opened when it is first asked for."""
    opened = request.registry.database.open(transaction_manager=request.tm)
    request.add_finished_callback(lambda request: opened.close())
    return opened


def transaction_tween(handler, registry):
    """Commit what a request did; do it again, up to `ATTEMPTS` times, at a conflict.

    An exception aborts.
    """
    def tween(request):
        for pauses in range(ATTEMPTS):
            try:
                return attempt(handler, request)
            except Exception as error:
                if pauses == ATTEMPTS - 1 or not will_pass(error):
                    raise
            # for a time of its own, or those that met would meet again
            time.sleep(random.uniform(0, PAUSE * 2 ** pauses))

    return tween


def attempt(handler, request):
    """Return the response, and commit."""
    request.tm.begin()
    try:
        response = handler(request)
        request.tm.commit()
    except BaseException:
        request.tm.abort()
        raise
    return response


def will_pass(error):
    """Whether *error* is a conflict, or a lock of the database that was not free.

    RelStorage's errors of the second kind are not known to ``transaction``.
    """
    return outage.is_conflict(error) or outage.is_outage(error)


def start_dispatcher(event):
    """Let this process work for the queue of its database."""
    configure.start(event.app.registry.database)


def be_client(event):
    """Let this process put jobs, and others do them; make the queue if need be."""
    configure.client()
    subscribers.queue_installer(DatabaseOpened(event.app.registry.database))


def main(global_config, **settings):
    """Return the WSGI application."""
    with Configurator(settings=settings) as config:
        config.registry.database = open_database(settings)
        config.add_request_method(transaction_manager, 'tm', reify=True)
        config.add_request_method(connection, 'zodb', reify=True)
        # below the views of exceptions: what these answer was aborted before
        config.add_tween('pyramidexample.transaction_tween', under=EXCVIEW)
        config.add_subscriber(
            be_client if settings.get('shared') else start_dispatcher, ApplicationCreated)
        config.add_route('page', '/')
        config.add_view(page, route_name='page')
        config.add_route('tallies', '/tallies')
        config.add_view(tallies, route_name='tallies')
        return config.make_wsgi_app()
