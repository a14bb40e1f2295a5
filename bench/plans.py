"""What a run of the bench is to do, and where it is done."""
import dataclasses
import os
import platform
import subprocess


def planned(cls, options, short):
    """Return the plan, a *cls*, that *options* of the command line ask for.

    *short* is what the short form does otherwise, where they do not say.
    """
    chosen = dict(short) if options.short else {}
    for field in dataclasses.fields(cls):
        value = getattr(options, field.name, None)
        if value is not None:
            chosen[field.name] = value
    return cls(**chosen)


def conditions(plan, command, versions):
    """Return what a result depends on besides the code: of every bench the same."""
    return {**dataclasses.asdict(plan), 'revision': _revision(), 'command': command,
            'python': platform.python_version(), 'system': platform.system(),
            'processors': os.cpu_count(), 'versions': versions}


def _revision():
    """Return the commit that is measured, with a ``+`` where it was changed, or None."""
    here = os.path.dirname(os.path.abspath(__file__))

    def git(*words):
        return subprocess.run(['git', *words], cwd=here, capture_output=True, text=True,
                              check=True).stdout.strip()

    try:
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain') else '')
    except (OSError, subprocess.CalledProcessError):
        return None
