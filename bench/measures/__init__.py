"""What is measured, each beside the raw commit rate of the same storage.

Each measure gets a fresh database.  It is prepared first; then it is taken
between two looks at the raw rate.  A new measure is a class in a module here.
"""
from bench.measures import backlogs
from bench.measures import latencies
from bench.measures import many
from bench.measures import rates
from bench.measures import staying
from bench.measures.base import Plan  # noqa: F401
from bench.measures.base import raw_rate  # noqa: F401
from bench.measures.base import Samples  # noqa: F401

MEASURES = {measure.name: measure for module in (rates, latencies, backlogs, many, staying)
            for measure in module.MEASURES}
