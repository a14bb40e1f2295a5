"""Whether the process that worked under our UUID before us is provably gone.

Where it is, its jobs need not wait until it counts as dead.  The proof is for
processes of one machine, between two boots of it, that see each other's ids: in
containers that are made anew at each start there is none.
"""
import os


def this_process():
    """Return what tells this process from all others, or None where nothing does.

    A tuple: of the machine's boot, of the namespaces that the next two are of, of
    the process id and of the start of the process, in ticks since the boot.
    """
    started = _started('self')
    try:
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as text:
            boot = text.read().strip()
        spaces = os.stat('/proc/self/ns/pid').st_ino, _clocks()
    except (OSError, ValueError):
        return None
    return started and (boot, *spaces, os.getpid(), started)


def is_gone(process):
    """Return whether *process*, what `this_process` was there, certainly has ended.

    False where that cannot be known.  None is a process of which nothing is known.
    """
    own = this_process()
    if process is None or own is None or process[:-2] != own[:-2]:
        return False
    pid, started = process[-2:]
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it lives and belongs to somebody else
    now = _started(pid)
    return now is not None and now != started


def _clocks():
    """Return the namespace of the clocks, by which starts are told; 0 without one."""
    try:
        return os.stat('/proc/self/ns/time').st_ino
    except FileNotFoundError:
        return 0  # older than Linux 5.6


def _started(pid):
    """Return when process *pid* was started, or None where that cannot be read."""
    try:
        with open(f'/proc/{pid}/stat', 'rb') as text:
            first, _name, rest = _split(text.read())
        # of other namespaces, /proc may have the same numbers for other processes
        wanted = os.getpid() if pid == 'self' else pid
        return int(rest.split()[19]) if int(first) == wanted else None
    except (OSError, ValueError, IndexError):
        return None


def _split(line):
    """Return what stands before, in and after the parentheses of the name."""
    before, _parenthesis, rest = line.partition(b'(')
    name, _parenthesis, after = rest.rpartition(b')')
    return before, name, after
