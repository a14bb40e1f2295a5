"""Distribution metadata of zc.async.

The importable spelling is ``zc.async_`` (``async`` is a keyword), the name of
everything else is ``zc.async``.  Two consequences show below: the console
script goes through ``zc.async_``, or the generated script would not even
parse; and ``zc`` is a native namespace package, so the packages are found
unfiltered: leaving ``zc`` itself out would make setuptools hide an editable
install behind an import hook that no static tool can follow.
"""
import os

from setuptools import find_namespace_packages, setup

HERE = os.path.dirname(os.path.abspath(__file__))


def long_description():
    pages = []
    for name in ('README.rst', 'CHANGES.rst'):
        path = os.path.join(HERE, name)
        if os.path.exists(path):
            with open(path, encoding='utf-8') as page:
                pages.append(page.read())
    return '\n\n'.join(pages)


ZEO = ['ZEO >= 6']
RELSTORAGE = ['RelStorage >= 4']
POSTGRESQL = RELSTORAGE + ['psycopg2-binary']
WORKER = ['ZConfig', 'zodburi >= 3']
ZOPE = ['zope.authentication', 'zope.configuration', 'zope.location', 'zope.proxy',
        'zope.schema', 'zope.security']

setup(
    name='zc.async',
    version='2.0.0a1',
    description='Persistent, transactional asynchronous jobs in the ZODB',
    long_description=long_description(),
    long_description_content_type='text/x-rst',
    license='ZPL-2.1',
    license_files=['LICENSE.txt'],
    author='The zc.async contributors',
    keywords='zodb zope twisted job queue asynchronous worker',
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Framework :: Twisted',
        'Framework :: ZODB',
        'Intended Audience :: Developers',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3 :: Only',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Programming Language :: Python :: 3.14',
        'Programming Language :: Python :: Implementation :: CPython',
        'Topic :: Database',
        'Topic :: System :: Distributed Computing',
    ],
    package_dir={'': 'src'},
    packages=find_namespace_packages('src'),
    package_data={'': ['*.zcml', '*.txt', '*.rst', '*.pyi', 'py.typed']},
    zip_safe=False,
    python_requires='>=3.11',
    install_requires=[
        'BTrees',
        'Twisted',
        'ZODB >= 6',
        'persistent',
        'transaction',
        'zc.lockfile',
        'zodbpickle',
        'zope.component',
        'zope.event',
        'zope.i18nmessageid',
        'zope.interface',
        'zope.processlifetime',
    ],
    extras_require={
        'zeo': ZEO,
        'relstorage': RELSTORAGE,
        'postgresql': POSTGRESQL,
        'worker': WORKER,
        'zope': ZOPE,
        'zope2': ['AccessControl', 'Acquisition', 'Zope >= 6', 'zExceptions',
                  'zope.globalrequest', 'zope.publisher', 'zope.security'],
        'test': ZEO + POSTGRESQL + WORKER + ZOPE + [
            'hypothesis',
            'manuel',
            'pytest',
            'pytz',
            'setuptools',
            'zope.keyreference',
            'zope.site',
            'zope.testing',
            'zope.testrunner',
        ],
        'docs': ['Sphinx'],
    },
    entry_points={
        'console_scripts': ['zc-async = zc.async_.cli:main'],
        'pytest11': ['zc_async = zc.async_.pytestplugin'],
    },
)
