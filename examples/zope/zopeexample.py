"""The application: a view of the application root."""
import wordcount
from AccessControl import getSecurityManager
from OFS.SimpleItem import SimpleItem
from Products.Five.browser import BrowserView

from zc.async_.interfaces import IQueue
from zc.async_.zope2 import Job


class Library(wordcount.Library, SimpleItem):
    """An object in the application root."""

    id = 'library'
    meta_type = title = 'Library'


def count(library, text, wait):
    """The job: count, and say for whom.

    *library* comes with its acquisition context, as in a request.
    """
    words = wordcount.count(library, text, wait)
    return words + [(f'counted for {getSecurityManager().getUser().getUserName()} in '
                     f'{library.absolute_url()}', '')]


class Page(BrowserView):
    """The view."""

    def __call__(self):
        form, response = self.request.form, self.request.response
        if self.request.method == 'POST':
            number = wordcount.answer(self.library(), form, self.put)
            return response.redirect(f'{self.request.URL}?report={number}')
        response.setHeader('Content-Type', 'text/html; charset=utf-8')
        library = getattr(self.context, 'library', None)
        return wordcount.page(library, form.get('report', ''))

    def library(self):
        """Return the library; make it if there is none."""
        if not hasattr(self.context, 'library'):
            self.context._setObject('library', Library())
        return self.context.library

    def put(self, *args):
        """Put a job, which runs in this site, for this user, as if in this request.

        The request's transaction commits it, with all that it changes itself.
        """
        return IQueue(self.context).put(Job(count, *args))
