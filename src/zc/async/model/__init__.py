"""What is stored and how it changes.  No threads, no reactor, no sockets."""
