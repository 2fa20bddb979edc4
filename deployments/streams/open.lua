-- Opens a stream's log, unless its key has as many as it may.
-- KEYS: 1 the stream (hash), 2 the key's logs (sorted set, by the time they lapse), 3 the stream's log (stream)
-- ARGV: 1 owner, 2 request, 3 a log's life in ms, 4 logs that the key may have, 5 the stream's name
-- Returns 1, or 0 if there are too many.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
        return 0
    end
    redis.call('HSET', KEYS[1], 'state', 'running', 'request', ARGV[2])
    redis.call('DEL', KEYS[3]) -- of a stream whose hash alone was evicted
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
