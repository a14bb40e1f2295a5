"""The loggers: ``zc.async.events`` for what matters, ``zc.async.trace`` for all."""
import logging

events = logging.getLogger('zc.async.events')
trace = logging.getLogger('zc.async.trace')
