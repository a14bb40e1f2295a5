"""Measures what things cost here, by small experiments with one working process."""
import dataclasses
import os
import platform
import statistics

from bench.simulation import check
from bench.simulation import real
from bench.simulation import world
from bench.simulation.costs import Costs

#: Records of the larger commits.
RECORDS = 10
#: Processes that commit at once, to see how the lock is handed over.
COMMITTERS = 4
#: The least that anything costs: what is measured as less is noise.
LEAST = 1e-6
#: Of the server's work for a commit, the share that can come before the lock at most.
MOST_EARLY = 0.9
#: Turns of a process that do not count: much happens for the first time there.
WARM = 3
#: What is done to see what jobs cost: which, the size of the agents, processes; how often.
DRAINS = {'one': ('no-op', 1, 1), 'ten': ('no-op', 10, 1), 'effect': ('effect', 10, 1),
          'many ten': ('no-op', 10, COMMITTERS), 'many effect': ('effect', 10, COMMITTERS)}
RUNS = 3


def calibrate(kind, seconds=2.0, jobs=1500, clients=(1, 50, 200), say=print):
    """Return the `Costs` of *kind* here, and under which conditions they were found."""
    with real.served(kind) as server:
        server.fill(range(COMMITTERS), RECORDS, many=2000)
        before = real.raw(server, 1, seconds)
        say(f'{kind}: {before["rate"]:.0f} commits/s of one object')
        large = real.raw(server, 1, seconds, RECORDS)
        loads, disk = real.load(server, 2000), real.disk(server)
        heard, beside = (_invalidations(server, clients, seconds, say)
                         if kind == 'zeo' else ({}, []))
    drains = {}
    for name, (subject, size, workers) in DRAINS.items():
        drains[name] = _drain(kind, subject, size, workers, jobs, before)
        say(f'{kind}: {name}: {drains[name]["rate"]:.0f} jobs/s')
    alone, many = _crowded(kind, seconds)
    say(f'{kind}: {many["rate"]:.0f} commits/s of {COMMITTERS} processes')
    found = {**_storage(before, large, loads, disk), **heard}
    found['jitter'] = alone['jitter']
    found.update(_worker(drains, found), **_crowd_of_workers(drains, found, os.cpu_count()))
    conditions = {
        'raw_before': round(before['rate']), 'raw_after': round(alone['rate']),
        'processors': os.cpu_count(), 'python': platform.python_version(),
        'jobs': jobs, 'seconds': seconds, 'raw_many': many['rate'],
        'no_op': drains['ten']['rate'], 'effect': drains['effect']['rate'],
        'clients': beside}
    told = (COMMITTERS - 1) * found['invalidation_cpu']
    found['crowd'] = max(0.0, (many['cpu'] - told) / alone['cpu'] - 1) / max(
        1.0, world.crowd(COMMITTERS + 1, os.cpu_count()))
    return _with_handover(Costs(kind=kind, **found),
                          many['rate'] / alone['rate']), conditions


def _crowd_of_workers(drains, costs, cores):
    """Return how much slower workers get who have no processors of their own."""
    def total(name):
        return drains[name]['cpu_per_job'] + drains[name]['server_cpu_per_job']

    def more(name):
        told = ((COMMITTERS - 1) * costs['invalidation_cpu']
                * drains[f'many {name}']['commits_per_job'])
        return max(0.0, (total(f'many {name}') - told) / total(name) - 1)

    crowded = max(1.0, world.crowd(COMMITTERS + 1, cores))
    return {'worker_crowd': statistics.mean(map(more, ('ten', 'effect')))
            / world.doublings(crowded)}


def _drain(kind, subject, size, workers, jobs, small):
    """Return the medians of what jobs take, at the pace at which *small* was found.

    Each time on a server that has done nothing yet, as in a check.
    """
    runs = []
    for _number in range(RUNS):
        with real.served(kind) as server:
            server.fill(range(workers), 1)
            runs.append(_at_pace(
                check.measured(server, workers, subject, jobs, size, 1.0), small))
    return {'turns': [turn for one in runs for turn in one['turns']],
            **{name: statistics.median(one[name] for one in runs) for name in (
                'rate', 'cpu_per_job', 'server_cpu_per_job', 'commits_per_job',
                'loads_per_job')}}


def _at_pace(found, small):
    """Return *found* as if a raw commit had taken as much processor time as in *small*."""
    here = small['cpu'] / found['raw_cpu']
    there = small['server_cpu'] / found['raw_server_cpu']
    return {**found, 'cpu_per_job': here * found['cpu_per_job'],
            'server_cpu_per_job': there * found['server_cpu_per_job'],
            'turns': [(jobs, here * cpu) for jobs, cpu in found['turns'][WARM:]]}


def _crowded(kind, seconds):
    """Return what one process commits, and several, on a server that has done nothing."""
    with real.served(kind) as server:
        server.fill(range(COMMITTERS), 1)
        before = real.raw(server, 1, seconds)
        many = real.raw(server, COMMITTERS, seconds)
        after = real.raw(server, 1, seconds)
    return {name: (before[name] + after[name]) / 2 for name in before}, many


def _with_handover(costs, gain):
    """Return *costs* with which many committers gain as much over one as they do here.

    What passes between one commit and the next of another process, when all of them
    want the lock, is no processor time and cannot be seen from outside; nor can how much
    of a commit comes before the lock.
    """
    cores = os.cpu_count()
    wanted = gain * world.raw(costs, 1, cores)

    def is_more(**changed):
        found = dataclasses.replace(costs, **changed)
        return world.raw(found, COMMITTERS, cores) > wanted

    if is_more():
        return dataclasses.replace(costs, handover=_last(
            lambda seconds: is_more(handover=seconds), 2 / wanted))
    # then they do not wait for each other with all that they have to do
    return dataclasses.replace(costs, early=_last(
        lambda share: not is_more(early=share), MOST_EARLY))


def _last(holds, high):
    """Return the last number from 0 to *high* for which ``holds()``."""
    low = 0.0
    for _number in range(10):
        middle = (low + high) / 2
        if holds(middle):
            low = middle
        else:
            high = middle
    return low


def _storage(small, large, loads, disk):
    """Return the costs of commits and loads, from those of 1 and of many records.

    *disk* is what it takes to make a commit durable.  Where a commit as a whole leaves
    less than that beside what it computes, some of this was done meanwhile.
    """
    extra = RECORDS - 1
    record = max(LEAST, (large['cpu'] - small['cpu']) / extra)
    server_record = max(LEAST, (large['server_cpu'] - small['server_cpu']) / extra)
    wire = max(LEAST, (loads['seconds'] - loads['cpu'] - loads['server_cpu']) / 2)
    waiting = (1 / small['rate'] - small['cpu'] - small['server_cpu'] - 4 * wire)
    commit = max(LEAST, small['cpu'] - small['finish_cpu'] - record)
    return {
        'commit_cpu': commit, 'beside_cpu': min(commit, max(0.0, disk - waiting)),
        'record_cpu': record, 'finish_cpu': small['finish_cpu'],
        'server_commit_cpu': max(LEAST, small['server_cpu'] - server_record),
        'server_record_cpu': server_record, 'server_load_cpu': loads['server_cpu'],
        'server_invalidation_cpu': 0.0, 'invalidation_cpu': 0.0,
        'sync': max(LEAST, waiting, disk), 'wire': wire, 'load_cpu': loads['cpu']}


def _invalidations(server, clients, seconds, say):
    """Return what it costs to tell one client more of a commit, there and here.

    Also return how many commits a second there were beside so many, and what each
    cost the server.
    """
    found = [(count, real.told(server, count, seconds)) for count in clients]
    for count, one in found:
        say(f'zeo: {count} idle clients: {one["rate"]:.0f} commits/s, '
            f'{1000 * one["server_cpu"]:.2f} ms of the server for each')
    costs = {'server_invalidation_cpu': _slope(found, 'server_cpu'),
             'invalidation_cpu': _slope(found, 'cpu')}
    return costs, [(count, one['rate'], one['server_cpu']) for count, one in found]


def _slope(found, name):
    counts = [count for count, _one in found]
    return max(LEAST, statistics.linear_regression(
        counts, [one[name] for _count, one in found]).slope)


def _worker(drains, costs):
    """Return the costs of turns and jobs.

    What a turn costs, and each job in it, is seen in the threads that took turns; the
    rest of what the process has used is the job's.
    """
    ten, effect = drains['ten'], drains['effect']
    commit = costs['commit_cpu'] + costs['finish_cpu']
    turn, turn_job = _line(drains['one']['turns'] + ten['turns'])
    loads = ten['loads_per_job'] * costs['load_cpu']
    found = {
        'turn_cpu': max(LEAST, turn - commit - Costs.turn_records * costs['record_cpu']),
        # each job is claimed in one turn and settled in another
        'turn_job_cpu': max(
            LEAST, turn_job - Costs.job_records * costs['record_cpu'] - loads / 2)}
    turns = ten['commits_per_job'] * (
        commit + found['turn_cpu'] + Costs.turn_records * costs['record_cpu'])
    both = 2 * (found['turn_job_cpu'] + Costs.job_records * costs['record_cpu'])
    job = max(LEAST, ten['cpu_per_job'] - turns - both - loads)
    more = effect['commits_per_job'] - ten['commits_per_job']
    return {
        **found, **_at_server(ten, effect, costs), 'job_cpu': job,
        'effect_cpu': max(LEAST, (
            effect['cpu_per_job'] - ten['cpu_per_job'] - more * commit
            # its outcome is no record of the turn
            - (Costs.effect_records - Costs.job_records) * costs['record_cpu'])),
        'job_loads': ten['loads_per_job']}


def _at_server(ten, effect, costs):
    """Return what jobs cost the server, apart from what commits and loads do."""
    commit = costs['server_commit_cpu'] + costs['server_invalidation_cpu']
    record = costs['server_record_cpu']
    turns = ten['commits_per_job'] * (commit + Costs.turn_records * record)
    more = effect['commits_per_job'] - ten['commits_per_job']
    return {
        # mostly what was asked for beforehand, which is not among the loads
        'server_job_cpu': max(0.0, (
            ten['server_cpu_per_job'] - turns - 2 * Costs.job_records * record
            - ten['loads_per_job'] * costs['server_load_cpu'])),
        # it looks whether others have changed what was only read
        'server_effect_cpu': max(0.0, (
            effect['server_cpu_per_job'] - ten['server_cpu_per_job'] - more * commit
            - (Costs.effect_records - Costs.job_records) * record))}


def _line(turns):
    """Return what a turn costs, and what for each outcome and claim in it."""
    busy = [(jobs, cpu) for jobs, cpu in turns if jobs]
    line = statistics.linear_regression(*zip(*busy))
    return max(0.0, line.intercept), max(0.0, line.slope)
