"""Serve the instance:  python serve.py INSTANCE PORT

It is made with ``mkwsgiinstance`` if it is not there, and told of zc.async and
of the example as any instance is: by files in ``etc/package-includes``.
"""
import logging
import os
import secrets
import shutil
import subprocess
import sys

import wordcount

HERE = os.path.dirname(os.path.abspath(__file__))


def main(instance, port):
    config = os.path.join(instance, 'etc', 'zope.conf')
    if not os.path.exists(config):
        make_instance(instance)
    shutil.copytree(os.path.join(HERE, 'package-includes'),
                    os.path.join(instance, 'etc', 'package-includes'),
                    dirs_exist_ok=True)
    os.chdir(instance)
    logging.basicConfig(level=logging.WARNING)
    from Zope2.Startup.run import make_wsgi_app
    application = make_wsgi_app({}, config)
    wordcount.serve(application, int(port), '/wordcount')
    import Zope2
    Zope2.DB.close()


def make_instance(instance):
    """Make it, with a manager who has a password that nobody can guess."""
    password = secrets.token_urlsafe(9)
    subprocess.check_call(
        [sys.executable, '-m', 'Zope2.utilities.mkwsgiinstance', '-d', instance,
         '-u', f'admin:{password}', '--python', sys.executable])
    print(f'made {instance}: log in as admin with the password {password}', flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
