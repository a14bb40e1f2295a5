"""What is stored, and what the jobs do.

Three quotas do the steering, with one agent for all.  A job that waits for
others keeps its place in the agent, so the agent has a place for each job that
may wait, and `agent_size` says how many that is.
"""
import collections
import heapq
import logging
import math
import os
import re

import persistent
from BTrees.OLBTree import OLBTree
from persistent.mapping import PersistentMapping

from .. import describe
from .. import failures
from ..job import Job
from ..job import parallel
from ..job import RetryCommonForever
from ..threadlocal import local

#: Letters of any script, without digits and underscores.
_WORD = re.compile(r'[^\W\d_]+')
#: How many of the most frequent words the summary names.
_FREQUENT = 10
#: Batches that are under way at the same time: while the last files of one are
#: waited for, those of the next are read.
_BATCHES = 2


def quota_sizes(workers):
    """Return the sizes of the quotas by name, for *workers* files at a time."""
    return {'batches': _BATCHES, 'files': workers, 'index': 1}


def agent_size(workers):
    """Return how many jobs are claimed at a time.

    Those that the quotas let in, the job that waits for all batches, and one
    that writes a summary.
    """
    return sum(quota_sizes(workers).values()) + 2


def words_of(text):
    """Return how often each word is in *text*, in lower case: a dictionary."""
    return dict(collections.Counter(_WORD.findall(text.lower())))


def count_words(run, path):
    """Read the file *path* and have its counts merged: what a file's job does.

    The job's result is that of the job that merges, for which it waits.
    """
    with open(os.path.join(run.folder, path), encoding='utf-8') as file:
        counts = words_of(file.read())
    return local.getQueue().put(_lasting(Job(run.index.merge, counts), 'index'))


class WordIndex(persistent.Persistent):
    """How often each word was found, and in how many files was looked.

    The counts of the latest files are kept beside the tree and folded into it
    for *fold* files together.  The words of one file are in hundreds of the
    tree's buckets, those of a hundred files in hardly more than a thousand;
    and a bucket is written as a whole.
    """

    files = 0
    total = 0

    def __init__(self, fold):
        self.words = OLBTree()
        self.recent = ()
        self._fold = fold

    def merge(self, counts):
        """Add the *counts* of one file; return how many words it has."""
        self.recent = (*self.recent, PersistentMapping(counts))
        if len(self.recent) == self._fold:
            self.fold()
        self.files += 1
        found = sum(counts.values())
        self.total += found
        return found

    def fold(self):
        """Let the tree have all counts."""
        added = collections.Counter()
        for counts in self.recent:
            added.update(counts)
        for word, count in sorted(added.items()):
            self.words[word] = self.words.get(word, 0) + count
        self.recent = ()

    def most_frequent(self):
        """Return the most frequent words with their counts, the first first."""
        return heapq.nsmallest(
            _FREQUENT, self.words.items(), key=lambda item: (-item[1], item[0]))


class Run(persistent.Persistent):
    """The counting of one folder: its jobs, and what came out."""

    summary = None    # a dictionary, once all is done
    seconds = None    # how long the process took that finished it
    performed = None  # how many jobs that process performed
    resumed = False   # whether there was a process before that one

    def __init__(self, folder, paths):
        self.folder = folder
        self.files = len(paths)
        size = math.isqrt(len(paths) - 1) + 1
        self.index = WordIndex(fold=2 * size)
        # A parallel job looks at all of its parts when one of them is done.  A
        # flat one of n files would look n * n times; batches as many as their
        # files are, sqrt(n), look n * sqrt(n) times.
        batches = [self._batch(paths[first:first + size])
                   for first in range(0, len(paths), size)]
        self.job = _lasting(parallel(
            *batches, postprocess=_lasting(Job(self.write_summary))))

    def _batch(self, paths):
        files = [_lasting(Job(count_words, self, path), 'files') for path in paths]
        for job in files:
            # the table tells of it
            job.failure_log_level = logging.INFO
        return _lasting(
            parallel(*files, postprocess=_lasting(Job(summarize))), 'batches')

    def write_summary(self, *batches):
        """Sum up: what the last job does."""
        self.index.fold()
        self.summary = {
            'files': self.index.files,
            'words': self.index.total,
            'distinct': len(self.index.words),
            'frequent': self.index.most_frequent(),
            'failures': [one for batch in batches
                         for one in _value(batch)['failures']]}

    def progress(self):
        """Return the `Progress`."""
        done = [batch.result for batch in self.job.args
                if batch.result is not None]
        failed = sum(len(one['failures']) for one in done
                     if not failures.is_failure(one))
        return Progress(self.files, self.index.files, failed, len(done),
                        self.job.result is not None or self.summary is not None)


class Progress(collections.namedtuple(
        'Progress', 'files merged failed batches finished')):
    """How far a run is.

    Failures are known when their batch is done.
    """

    @property
    def done(self):
        """How many files are done."""
        return self.merged + self.failed

    @property
    def jobs(self):
        """How many jobs have been performed.

        A file that is merged took two, one that failed one; a batch takes one
        that waits and one that sums up, and so does the whole.
        """
        return (2 * self.merged + self.failed
                + 2 * self.batches + 2 * self.finished)


def summarize(*files):
    """Return which of the *files*, which are jobs, failed and why."""
    return {'failures': [(job.args[1], _reason(job.result)) for job in files
                         if failures.is_failure(job.result)]}


def _reason(failure):
    name = failure.typeName.rpartition('.')[2]
    return describe.printable(f'{name}: {failure.getErrorMessage()}')


def _value(job):
    """Return the result of *job*; raise what it failed with."""
    if failures.is_failure(job.result):
        job.result.raiseException()
    return job.result


def _lasting(job, *quota_names):
    """Return *job* as one that outlives any number of kills, with its quotas."""
    # the default policy gives a job up that was interrupted nine times
    job.retry_policy_factory = RetryCommonForever
    job.quota_names = quota_names
    return job
