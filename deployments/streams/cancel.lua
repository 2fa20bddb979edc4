-- Drops a stream's log; the mark stays for a while, so that its owner stops.
-- KEYS: 1 the stream (hash), 2 its log (stream)
-- Returns 1, or 0 if there was none.
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'cancelled' then
    return 0
end
redis.call('HSET', KEYS[1], 'state', 'cancelled')
redis.call('HDEL', KEYS[1], 'request')
redis.call('DEL', KEYS[2])
return 1
