-- Ends one admitted demand: its places, and the difference between what it reserved and what it used. See store.py.
-- KEYS: 1 the key's buckets and month (hash), 2 the places of its leases (sorted set)
-- ARGV: 1 tokens per minute (0: no limit), 2 tokens reserved, 3 tokens used
--       4 month, 5 tokens that the month's count has for it, 6 the count that has them
--       7 requests per minute (0: no limit), 8 requests that were not used, 9 and on: the places that end
local per_minute, reserved, used = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local requests_per_minute, unused = tonumber(ARGV[7]), tonumber(ARGV[8])

for position = 9, #ARGV do
    redis.call('ZREM', KEYS[2], ARGV[position])
end
local state = redis.call('HMGET', KEYS[1], 't', 'ta', 'month', 'counted', 'r', 'ra')
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000

local function put(name, held, at, limit, missing, amount)
    local has = limit - missing
    if held then
        has = math.min(limit, tonumber(held) + (now - tonumber(at)) * limit / 60000)
    end
    has = math.min(limit, has + amount)
    redis.call('HSET', KEYS[1], name, string.format('%.9f', has), name .. 'a', string.format('%.3f', now))
    redis.call('PEXPIRE', KEYS[1], 86400000)
end

if per_minute > 0 then
    put('t', state[1], state[2], per_minute, reserved, reserved - used)
end
if requests_per_minute > 0 and unused > 0 then
    put('r', state[5], state[6], requests_per_minute, unused, unused)
end
if state[3] == ARGV[4] then
    redis.call('HINCRBY', KEYS[1], 'used', state[4] == ARGV[6] and used - ARGV[5] or used)
end
return 0
