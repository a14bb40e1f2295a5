"""Serve the application:  python serve.py INSTANCE PORT [DATABASE]"""
import logging
import os
import signal
import sys

import pyramidexample
import wordcount


def main(instance, port, shared=''):
    os.chdir(instance)
    if shared:  # else the dispatcher sees to it
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    logging.basicConfig(level=logging.WARNING)
    application = pyramidexample.main({}, database='Data.fs', shared=shared)
    wordcount.serve(application, int(port))
    application.registry.database.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
