"""Whether everything that is stored is as it must be, and putting it right.

What has to hold, holds in each committed state, so that it can be looked at while
dispatchers work.  ``zc-async fsck`` is the command.
"""
