-- Adds events to a stream's log, or only keeps it for another while.
-- KEYS: 1 the stream (hash), 2 its log (stream), 3 the key's logs (sorted set, by the time they lapse)
-- ARGV: 1 owner, 2 events ('' for none), 3 number after the stream's last, 4 a log's life in ms, 5 1 for the end, 6 its name
-- Returns what the owner hears (store.py).
local found = redis.call('HMGET', KEYS[1], 'owner', 'state')
if not found[2] then
    return 'missing'
elseif found[2] == 'cancelled' then
    return 'cancelled'
elseif found[1] ~= ARGV[1] then
    return 'taken'
end
if ARGV[2] ~= '' then
    -- One that is there already, from a call whose outcome was not known, has an id that is not the greatest.
    local added = redis.pcall('XADD', KEYS[2], ARGV[3] .. '-0', 'f', ARGV[2])
    if type(added) ~= 'table' then
        redis.call('HINCRBY', KEYS[1], 'entries', 1)
    elseif added.err and not string.find(added.err, 'equal or smaller') then
        return added
    end
end
if ARGV[5] == '1' then
    redis.call('HSET', KEYS[1], 'state', 'ended', 'end', ARGV[3])
    redis.call('HDEL', KEYS[1], 'request')
end
local time = redis.call('TIME')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], 'XX', time[1] * 1000 + time[2] / 1000 + ARGV[4], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 'running'
