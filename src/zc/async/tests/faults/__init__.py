"""Every storage call may fail, lose its answer, or be the last of a process."""
