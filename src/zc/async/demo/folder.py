"""Which files are counted."""
import os
import sysconfig

#: Folders that are never looked into.
_SKIPPED = {'site-packages', 'dist-packages', '__pycache__', 'node_modules'}
#: Bytes from the beginning of a file that tell whether it is text.
_PROBE = 8192


class Refused(ValueError):
    """What was asked for makes no sense; the message says what would."""


def library():
    """Return the folder of the Python library."""
    return os.path.realpath(sysconfig.get_path('stdlib'))


def checked(folder, besides):
    """Return the real path of *folder*.

    Raise `Refused` if it is none, or has no file to count.
    """
    if not os.path.exists(folder):
        raise Refused(f'there is no folder {folder!r}; give one that exists')
    if not os.path.isdir(folder):
        raise Refused(f'{folder!r} is no folder; give the folder that it is in')
    real = os.path.realpath(folder)
    if next(_wanted(real, besides), None) is None:
        raise Refused(f'no text file is in {folder!r}; give a folder with some')
    return real


def files_in(folder, besides):
    """Return the sorted paths, relative to *folder*, of the files to count.

    Of the Python library these are its source files, of other folders all that
    look like text.  Hidden ones, and what is in the folder *besides*, are left
    out.
    """
    return sorted(os.path.relpath(path, folder)
                  for path in _wanted(folder, besides))


def _wanted(folder, besides):
    is_wanted = is_source if folder == library() else is_text
    return filter(is_wanted, _walk(folder, os.path.realpath(besides)))


def _walk(folder, besides):
    for here, folders, names in os.walk(folder):
        folders[:] = [
            name for name in folders if name not in _SKIPPED and name[0] != '.'
            and os.path.join(here, name) != besides]
        for name in names:
            path = os.path.join(here, name)
            if name[0] != '.' and os.path.isfile(path):
                yield path


def is_source(path):
    """Return whether *path* is a Python source file."""
    return path.endswith('.py')


def is_text(path):
    """Return whether the file *path* looks like text: no zero byte early on.

    One that cannot be read does: its job will say why it cannot.
    """
    try:
        with open(path, 'rb') as file:
            return b'\0' not in file.read(_PROBE)
    except OSError:
        return True
