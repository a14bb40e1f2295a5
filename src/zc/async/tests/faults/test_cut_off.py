"""A ZEO server that dies in a commit, and again: its clients come back.

What a FileStorage drops when it is opened, since it was voted for and not finished,
leaves its number behind as that of the last transaction, and a client that hears of
it has seen more than there is.
"""
import contextlib
import os
import unittest

import ZODB
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import load_current
from ZODB.utils import z64

from .. import servers
from ...runtime import mending


class CutOff(unittest.TestCase):

    def setUp(self):
        self.folder = self.enterContext(servers.folder())
        self.port = servers.free_port()

    def cut_off(self):
        """Leave a transaction in the file that was voted for and never finished."""
        with contextlib.closing(FileStorage(os.path.join(self.folder, 'Data.fs'))) as one:
            if not len(one):
                ZODB.DB(one)
            data, serial = load_current(one, z64)
            dropped = TransactionMetaData()
            one.tpc_begin(dropped)
            one.store(z64, serial, data, '', dropped)
            one.tpc_vote(dropped)

    def test_a_client_comes_back_after_the_second_time_too(self):
        self.cut_off()
        with contextlib.ExitStack() as stack:
            with servers.zeo(self.folder, port=self.port):
                storage = ClientStorage(('127.0.0.1', self.port), wait_timeout=2)
                db = ZODB.DB(storage)
                stack.callback(db.close)
                mending.mend(db)
                storage._server.client.register_failed_poll = 0.1  # not 9 s
                with db.transaction() as connection:
                    self.assertNotIn('a', connection.root())  # it is in the cache now
            servers.wait_until(lambda: not storage.is_connected(), 'the server is gone')
            self.cut_off()
            with servers.zeo(self.folder, port=self.port):
                servers.wait_until(storage.is_connected, 'the client is back')
                with db.transaction() as connection:
                    connection.root()['a'] = 1
                with db.transaction() as connection:
                    self.assertEqual(connection.root()['a'], 1)
