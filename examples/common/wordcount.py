"""What the examples have in common: a page that has words counted.

Nothing in here knows of the host.  `count` is the job; the host makes the
`Library` persistent, puts the job, and shows `page`.
"""
import html
import re
from collections import Counter

import waitress
from BTrees.IOBTree import IOBTree
from BTrees.Length import Length
from transaction.interfaces import TransientError

from zc.async_ import local
from zc.async_.interfaces import COMPLETED
from zc.twist import Failure

#: Seconds that a job waits for its release before it is begun anew.
PATIENCE = 3600


class Stopping(TransientError):
    """The server is being stopped: the next one begins the job anew."""


def count(library, text, wait):
    """The job: return the most frequent words, and add to what was counted.

    With *wait*, somebody has to release it first: so there is time to stop the
    server while it runs.
    """
    note_start()
    if wait and not local.getLiveAnnotation('released', timeout=PATIENCE, poll=0.2):
        raise Stopping
    words = Counter(re.findall(r'\w+', text.lower()))
    library.counted.change(words.total())
    return words.most_common(5)


def note_start():
    """Note how often the job was begun; at once, whatever becomes of it."""
    local.setLiveAnnotation('begun', local.getLiveAnnotation('begun', 0) + 1)


class Library:
    """Reports by number, and how many words they counted.  A mix-in."""

    def __init__(self):
        self.reports = IOBTree()
        self.counted = Length()  # two jobs that change it are no conflict

    def add(self, job):
        """Keep *job* and return its number."""
        number = self.reports.maxKey() + 1 if self.reports else 1
        self.reports[number] = job
        return number

    def find(self, number):
        """Return the job with *number*, a text from a browser, or None."""
        return self.reports.get(int(number)) if re.fullmatch(r'\d{1,9}', number) else None


def answer(library, form, put):
    """Do what the *form* says that was sent; return a report's number, a text.

    ``put(*args)`` puts a job that calls `count` with them, and returns it.
    """
    if 'release' in form:
        job = library.find(form['release'])
        if job is not None:
            job.annotations['released'] = True
        return form['release']
    job = put(library, form.get('text', ''), 'wait' in form)
    return str(library.add(job))


# What the browser shows

PAGE = '''<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Word count</title>{refresh}</head>
<body>
<h1>Word count</h1>
{body}
</body>
</html>
'''
FORM = '''<form method="post">
<p><textarea name="text" rows="8" cols="60"></textarea></p>
<p><label><input type="checkbox" name="wait"> begin, and wait until released</label></p>
<p><button name="count">Count</button></p>
</form>
'''
RELEASE = '''<form method="post">
<p><button name="release" value="{number}">Release</button></p>
</form>
'''


def page(library, number):
    """Return the page about report *number*; without one, the page to begin with.

    A report that is not complete is loaded again and again.
    """
    job = library.find(number) if library and number else None
    if job is None:
        return PAGE.format(refresh='', body=FORM + _overview(library))
    return PAGE.format(
        refresh='' if job.status == COMPLETED
        else '<meta http-equiv="refresh" content="1">',
        body=_report(job, int(number)))


def _overview(library):
    if library is None:
        return '<p><span id="counted">0</span> words counted so far</p>'
    links = ''.join(
        f'<li><a href="?report={number}">report {number}</a>: {_status(job)}</li>\n'
        for number, job in library.reports.items())
    return (f'<p><span id="counted">{library.counted()}</span> words counted so far</p>'
            f'\n<ul>{links}</ul>')


def _report(job, number):
    begun = job.annotations.get('begun', 0)
    lines = [f'<h2>Report {number}</h2>',
             f'<p>It is <b id="status">{_status(job)}</b>, '
             f'begun <span id="begun">{begun}</span> times</p>']
    if job.status == COMPLETED:
        lines.append(f'<div id="result">{_result(job.result)}</div>')
    elif begun and 'released' not in job.annotations:
        lines.append(RELEASE.format(number=number))
    lines.append('<p><a href="?">All reports</a></p>')
    return '\n'.join(lines)


def _status(job):
    return html.escape(job.status.replace('-status', ''))


def _result(result):
    if isinstance(result, Failure):
        return html.escape(result.getErrorMessage())
    rows = ''.join(f'<tr><td>{html.escape(word)}</td><td>{times}</td></tr>'
                   for word, times in result)
    return f'<table>{rows}</table>'


# Being served

def serve(application, port, path='/'):
    """Serve the WSGI *application* until a signal ends it.  *path* is its page's.

    zc.async has stopped its dispatcher by then: it does so when the signal
    comes, before the server hears of it.
    """
    server = waitress.create_server(application, host='127.0.0.1', port=port)
    print(f'http://127.0.0.1:{port}{path}  (Ctrl-C stops it)', flush=True)
    server.run()
    server.close()
    print('stopped', flush=True)
