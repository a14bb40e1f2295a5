"""Serve the application:  python serve.py INSTANCE PORT"""
import logging
import os
import sys

import pyramidexample
import wordcount


def main(instance, port):
    os.chdir(instance)
    logging.basicConfig(level=logging.WARNING)
    application = pyramidexample.main({}, database='Data.fs')
    wordcount.serve(application, int(port))
    application.registry.database.close()


if __name__ == '__main__':
    main(*sys.argv[1:])
