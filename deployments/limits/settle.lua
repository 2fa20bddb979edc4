-- Ends one admitted demand: its lease, and the difference between what it reserved and what it used. See store.py.
-- KEYS: 1 the key's buckets and month (hash), 2 the places of its leases (sorted set)
-- ARGV: 1 tokens per minute (0: no limit), 2 tokens reserved, 3 tokens used, 4 lease ('' for none)
--       5 month, 6 tokens that the month's count has for it, 7 the count that has them, 8 places of the lease
local per_minute, reserved, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

if ARGV[4] ~= '' then
    redis.call('ZREM', KEYS[2], ARGV[4])
    for place = 2, tonumber(ARGV[8]) do
        redis.call('ZREM', KEYS[2], ARGV[4] .. '#' .. place)
    end
end
local state = redis.call('HMGET', KEYS[1], 't', 'ta', 'month', 'counted')
if per_minute > 0 then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + time[2] / 1000
    local has = per_minute - reserved
    if state[1] then
        has = math.min(per_minute, tonumber(state[1]) + (now - tonumber(state[2])) * per_minute / 60000)
    end
    has = math.min(per_minute, has + reserved - used)
    redis.call('HSET', KEYS[1], 't', string.format('%.9f', has), 'ta', string.format('%.3f', now))
    redis.call('PEXPIRE', KEYS[1], 86400000)
end
if state[3] == ARGV[5] then
    redis.call('HINCRBY', KEYS[1], 'used', state[4] == ARGV[7] and used - ARGV[6] or used)
end
return 0
