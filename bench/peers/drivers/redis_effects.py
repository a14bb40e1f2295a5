"""The effect of a job on Redis: a number in a list; and how the server is emptied."""
import common
import redis

QUEUE, EFFECTS = common.REDIS + '/0', common.REDIS + '/1'
queue = redis.Redis.from_url(QUEUE)
_effects = redis.Redis.from_url(EFFECTS)


def effect(number):
    _effects.rpush('effects', number)


def effects():
    return [int(number) for number in _effects.lrange('effects', 0, -1)]


def reset():
    queue.flushall()
