"""Jobs whose effects can be counted: each has a tally of its own, and adds 1 to it.

So it shows if one was lost, or had its effect twice, whatever became of the
processes meanwhile.
"""
import os
import random
import re
from collections import Counter

import persistent
from BTrees.Length import Length

from zc.async_.interfaces import COMPLETED
from zc.async_.job import Job
from zc.twist import Failure

#: How many jobs one request may put.
MOST = 1000


def count(length):
    """The job: add 1, and return the number of the process that did.

    Two that add 1 at once add 2: a `Length` resolves that.  So nothing but zc.async
    sees to it that it is done once.
    """
    length.change(1)
    return os.getpid()


class Tally(persistent.Persistent):
    """A job, and how often it had its effect."""

    def __init__(self):
        self.length = Length()
        self.job = Job(count, self.length)


def put(tallies, queue, text):
    """Put so many jobs; *text* is a number from a browser."""
    jobs = int(text) if re.fullmatch(r'\d{1,4}', text) else 1
    # far from those of other requests: what is added after the last by two at once
    # conflicts, and what is added in different places does not
    first = random.randrange(2 ** 30)
    while tallies.keys(first, first + MOST):
        first = random.randrange(2 ** 30)
    for number in range(first, first + min(jobs, MOST)):
        tally = tallies[number] = Tally()
        queue.put(tally.job)


PAGE = '''<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Tallies</title></head>
<body>
<h1>Tallies</h1>
<form method="post">
<p><input name="jobs" value="10"> <button name="put">Put so many jobs</button></p>
</form>
<p><span id="put">{put}</span> jobs were put, <span id="completed">{completed}</span>
are complete, <span id="failed">{failed}</span> of them failed.</p>
<p>Effects: <span id="once">{once}</span> happened once, <span id="never">{never}</span>
not yet, <span id="more">{more}</span> more often.</p>
<p>Jobs done by each process: <span id="processes">{processes}</span></p>
</body>
</html>
'''


def page(tallies):
    """Return the page about all *tallies*."""
    found = list(tallies.values())
    results = [tally.job.result for tally in found if tally.job.status == COMPLETED]
    failed = sum(isinstance(result, Failure) for result in results)
    done = Counter(result for result in results if isinstance(result, int))
    times = Counter(tally.length() for tally in found)
    return PAGE.format(
        put=len(found), completed=len(results), failed=failed,
        once=times[1], never=times[0], more=len(found) - times[1] - times[0],
        processes=' '.join(f'{pid}:{number}' for pid, number in sorted(done.items())))
