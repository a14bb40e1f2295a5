"""What a running job may ask about itself: ``zc.async.local``.

Each thread has its own.  Outside a job there is no job, and the functions that
need one say so.
"""
import threading

from .interfaces import IAgent


class Local(threading.local):
    """The seven documented functions.  Any thread; each sees its own job."""

    job = None
    dispatcher = None

    def getJob(self):
        """Return the job, or callback, that this thread runs, or None."""
        return self.job

    def getQueue(self):
        """Return the queue that the job was put into, or None."""
        return None if self.job is None else self.job.queue

    def getAgentName(self):
        """Return the name of the agent that claimed the job, or None."""
        agent = None if self.job is None else self.job.agent
        return agent.name if IAgent.providedBy(agent) else None

    def getDispatcher(self):
        """Return the dispatcher whose thread this is, or None."""
        return self.dispatcher

    def getReactor(self):
        """Return the dispatcher's reactor, or None."""
        return None if self.dispatcher is None else self.dispatcher.reactor

    def setLiveAnnotation(self, name, value, job=None):
        """Annotate *job*, by default the running one, in a commit of its own.

        It is durable and visible to others when this returns, whatever
        becomes of the job.  *value* must not be, or refer to, persistent
        objects.  Raise ValueError outside a job.
        """
        live, job = self._live(job)
        live.set_annotation(job, name, value)

    def getLiveAnnotation(self, name, default=None, timeout=0, poll=1, job=None):
        """Return the annotation *name* of *job* as last committed by anybody.

        Where there is none, wait for it up to *timeout* seconds, looking at
        least every *poll* seconds, and then return *default*.  Raise ValueError
        outside a job.
        """
        live, job = self._live(job)
        return live.get_annotation(job, name, default, timeout, poll)

    def _live(self, job):
        if self.job is None or self.dispatcher is None:
            raise ValueError('not initialized')
        return self.dispatcher.live, self.job if job is None else job


local = Local()
