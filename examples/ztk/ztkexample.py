"""The application: a page of the root folder."""
import persistent
import wordcount
import zope.container.contained
from zope.publisher.browser import BrowserView
from zope.security.proxy import removeSecurityProxy

from zc.async_.interfaces import IQueue
from zc.async_.z3 import Job


class Library(wordcount.Library, zope.container.contained.Contained,
              persistent.Persistent):
    """Kept in the root folder."""


class Page(BrowserView):
    """The page."""

    def __call__(self):
        form, response = self.request.form, self.request.response
        folder = removeSecurityProxy(self.context)
        if self.request.method == 'POST':
            number = wordcount.answer(self.library(folder), form, self.put)
            return response.redirect(f'{self.request.URL}?report={number}')
        response.setHeader('Content-Type', 'text/html; charset=utf-8')
        return wordcount.page(folder.get('library'), form.get('report', ''))

    def library(self, folder):
        """Return the library of *folder*; make it if there is none."""
        if 'library' not in folder:
            folder['library'] = Library()
        return folder['library']

    def put(self, *args):
        """Put a job, which runs in this site and for this principal.

        The request's transaction commits it, with all that it changes itself.
        """
        return IQueue(removeSecurityProxy(self.context)).put(
            Job(wordcount.count, *args))
