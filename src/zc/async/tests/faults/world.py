"""Tells a scenario under virtual time, with faults, and looks at the end.

A world has its databases on `Server` objects; their clients are the processes, and
whoever looks.
"""
import transaction
import ZODB
import zope.component

from ...agent import addMainAgentActivationHandler
from ...interfaces import KEY
from . import invariants
from . import scenarios
from .company import begin_time
from .company import Company
from .company import furnish
from .company import Look
from .server import Client
from .server import Faults
from .server import Life
from .server import Server
from .storage import Died

#: Polls after which everything must be done.
POLLS = 60


def open_databases(servers, *args):
    """Return a client's main database; the others are beside it."""
    databases = {}
    for server in servers:
        ZODB.DB(Client(server, *args), databases=databases, database_name=server.name,
                pool_size=20, cache_size=10_000)
    return databases['main']


class Template:
    """The databases as a scenario finds them: the jobs are put, nobody works yet."""

    def __init__(self, scenario):
        begin_time()
        self.servers = [Server(name) for name in scenario.databases]
        look = Look(open_databases(self.servers))
        with look as root:
            furnish(root, root._p_jar.get_connection(scenario.databases[-1]),
                    scenario.enrolled)
        with look as root:
            queue = root[KEY]['']
            self.expected = scenario.put(queue, root['account'])
            root['jobs'] = tuple(queue)


_templates = {}


class World(Company):
    """The databases of one story, and its processes."""

    def __init__(self, scenario, *planned):
        super().__init__()
        self.scenario = scenario
        self.faults = Faults(*planned)
        self._code = None   # what is missing

    def __enter__(self):
        super().__enter__()
        if self.scenario not in _templates:
            _templates[self.scenario] = Template(self.scenario)
            begin_time()
        template = _templates[self.scenario]
        self.expected = template.expected
        self.servers = [server.copy() for server in template.servers]
        self.look = Look(open_databases(self.servers))
        if self.scenario.missing:
            self._code = vars(scenarios).pop(self.scenario.missing)
        if not self.scenario.enrolled:
            zope.component.provideHandler(addMainAgentActivationHandler)
        return self

    def __exit__(self, *exc_info):
        self.be_well()
        if not self.scenario.enrolled:
            zope.component.getGlobalSiteManager().unregisterHandler(
                addMainAgentActivationHandler)
        super().__exit__(*exc_info)

    def open(self, life):
        return open_databases(self.servers, self.faults, life)

    def forget_votes(self):
        for server in self.servers:
            server.abort(server.transaction)

    def tell(self):
        """Let processes work until all is done, or for `POLLS` polls."""
        if self.scenario.produce is not None:
            self._produce()
        self._to_start += self.scenario.living
        for _poll in range(POLLS):
            self.step()
            if not self.run_again() and self.done():
                return

    def _produce(self):
        """Put jobs, in a process that does nothing else; learn what to expect."""
        manager = transaction.TransactionManager()
        expected, acknowledged = {}, False
        try:
            root = self.open(Life()).open(manager).root()
            expected = self.scenario.produce(root[KEY][''], root['account'])
            manager.commit()
            acknowledged = True
        except (Exception, Died):
            pass
        self.forget_votes()
        # an error says nothing: what follows the commit can fail, too
        if acknowledged or self._is_there():
            self.expected = expected

    def _is_there(self):
        """Return whether there is anything of what was put."""
        with self.look as root:
            return bool(root['account'].changes or len(root[KEY]['']))

    def be_well(self):
        """End what hurts: the code is there now, in this process and in new ones."""
        super().be_well()
        if self._code is not None:
            setattr(scenarios, self.scenario.missing, self._code)
            self._code = None
            for process in self.processes:
                process.life.dead = True

    def problems(self):
        """Return what is not as it must be, as sentences."""
        with self.look as root:
            return invariants.problems(self, root)
