"""Serve the site:  python serve.py INSTANCE PORT"""
import os
import sys

import wordcount
import zope.component
from ZODB.interfaces import IDatabase
from zope.app.wsgi.paste import ZopeApplication


def main(instance, port):
    example = os.environ['EXAMPLE'] = os.path.dirname(os.path.abspath(__file__))
    os.chdir(instance)
    application = ZopeApplication({}, os.path.join(example, 'zope.conf'))
    wordcount.serve(application, int(port))
    zope.component.getUtility(IDatabase).close()


if __name__ == '__main__':
    main(*sys.argv[1:])
