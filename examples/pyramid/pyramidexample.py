"""The application: a view, and a ZODB connection for each request."""
import persistent
import transaction
import wordcount
import ZODB
from pyramid.config import Configurator
from pyramid.events import ApplicationCreated
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from ZODB.FileStorage import FileStorage

from zc.async_ import configure
from zc.async_.interfaces import IQueue
from zc.async_.job import Job


class Library(wordcount.Library, persistent.Persistent):
    """Kept in the database's root."""


# The view

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


# The database

def transaction_manager(request):
    """The request's own, so that nothing depends on threads."""
    return transaction.TransactionManager(explicit=True)


def connection(request):
    """A connection of the request's own, opened when it is first asked for."""
    opened = request.registry.database.open(transaction_manager=request.tm)
    request.add_finished_callback(lambda request: opened.close())
    return opened


def transaction_tween(handler, registry):
    """Commit what a request did; do it again, up to three times, at a conflict.

    An exception aborts.
    """
    def tween(request):
        for attempt in request.tm.attempts():
            with attempt:
                response = handler(request)
        return response

    return tween


def start_dispatcher(event):
    """Let this process work for the queue of its database."""
    configure.start(event.app.registry.database)


def main(global_config, **settings):
    """Return the WSGI application."""
    with Configurator(settings=settings) as config:
        config.registry.database = ZODB.DB(FileStorage(settings['database']))
        config.add_request_method(transaction_manager, 'tm', reify=True)
        config.add_request_method(connection, 'zodb', reify=True)
        # below the views of exceptions: what these answer was aborted before
        config.add_tween('pyramidexample.transaction_tween', under=EXCVIEW)
        config.add_subscriber(start_dispatcher, ApplicationCreated)
        config.add_route('page', '/')
        config.add_view(page, route_name='page')
        return config.make_wsgi_app()
