"""Signals end a dispatcher before they end its process."""
import signal
import threading

#: The signals that end a process.
SIGNALS = tuple(
    getattr(signal, name) for name in ('SIGINT', 'SIGTERM', 'SIGBREAK')
    if hasattr(signal, name))


def stop(dispatcher, timeout=3):
    """Stop the threaded *dispatcher* and wait for its thread, up to *timeout* s.

    That is besides the time that its jobs have to end.  Afterwards the signals
    do what they did before it was started.
    """
    if dispatcher.activated is not None:
        dispatcher.reactor.callFromThread(dispatcher.reactor.stop)
        if dispatcher.thread is not None:
            dispatcher.thread.join(timeout + dispatcher.shutdown_grace)
    restore_signal_handlers(dispatcher)


class _StopFirst:
    """A signal handler: stop a dispatcher, then do what was done *before*."""

    def __init__(self, dispatcher, before):
        self.dispatcher = dispatcher
        self.before = before

    def __call__(self, number, frame):
        dispatcher, before = self.dispatcher, self.before
        if dispatcher is not None:
            stop(dispatcher)
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise SystemExit(128 + number)


#: The signal handlers that stop a dispatcher, by its UUID and the signal.
signal_handlers = {}


def chain(dispatcher):
    """Stop *dispatcher* at a signal, before what else the signal does.

    Only the main thread can arrange that; elsewhere nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    _forget_ended()
    for number in SIGNALS:
        before = signal.getsignal(number)
        # a signal that is ignored stays so; None: not Python's to restore
        if before not in (None, signal.SIG_IGN):
            handler = _StopFirst(dispatcher, before)
            signal_handlers[dispatcher.UUID, number] = handler
            signal.signal(number, handler)


def _forget_ended():
    """Take out what stands for dispatchers that were ended otherwise."""
    for handler in list(signal_handlers.values()):
        if handler.dispatcher is not None and handler.dispatcher.activated is None:
            restore_signal_handlers(handler.dispatcher)


def restore_signal_handlers(dispatcher):
    """Let the signals do again what they did before *dispatcher* was started."""
    for number in SIGNALS:
        handler = signal_handlers.pop((dispatcher.UUID, number), None)
        if handler is not None:
            _take_out(number, handler)


def _take_out(number, handler):
    """Take *handler* out of the chain of handlers of the signal *number*."""
    # whoever calls it still, passes through
    handler.dispatcher = None
    if (signal.getsignal(number) is handler
            and threading.current_thread() is threading.main_thread()):
        signal.signal(number, handler.before)
    for (_UUID, other_number), other in signal_handlers.items():
        if other_number == number and other.before is handler:
            other.before = handler.before
