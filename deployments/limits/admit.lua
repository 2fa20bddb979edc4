-- Decides one demand, atomically: takes all that it asks for, or nothing. See store.py.
-- KEYS: 1 the key's buckets and month (hash), 2 the places of its leases (sorted set, by the time they lapse)
-- ARGV: 1-4 requests and tokens per minute, requests at once, tokens per month (0: no limit)
--       5 requests, 6 tokens, 7 tokens to reserve, 8 lease ('' for none), 9 a lease's life in ms
--       10 month, 11 tokens used in it ('' not asked for yet, -1 nobody knows), 12 a count's life in ms
--       13 places of the lease, one for each sequence
-- Returns {refused by, wait ms, remaining requests, reset ms, remaining tokens, reset ms, counted in}
local SLACK = 1e-6
local rpm, tpm, at_once, monthly = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local requests, tokens, reserved = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local lease, places = ARGV[8], tonumber(ARGV[13])

local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local state = redis.call('HMGET', KEYS[1], 'r', 'ra', 't', 'ta', 'month', 'used', 'counted')

local function level(held, at, per_minute)
    if not held then
        return per_minute
    end
    return math.min(per_minute, tonumber(held) + (now - tonumber(at)) * per_minute / 60000)
end

local has_requests, has_tokens = level(state[1], state[2], rpm), level(state[3], state[4], tpm)

local function standing(refused_by, wait, counted)
    local function reset(has, per_minute)
        return per_minute > 0 and math.ceil((per_minute - has) * 60000 / per_minute) or 0
    end
    return {
        refused_by, math.ceil(wait),
        math.max(0, math.floor(has_requests + SLACK)), reset(has_requests, rpm),
        math.max(0, math.floor(has_tokens + SLACK)), reset(has_tokens, tpm),
        counted,
    }
end

local used, counted = nil, 0
if monthly > 0 then
    local is_known = state[5] == ARGV[10]
    local is_fresh = is_known and now - tonumber(state[7]) < tonumber(ARGV[12])
    if not is_fresh and ARGV[11] == '' then
        return standing(5, 0, 0)
    end
    if is_fresh or (is_known and ARGV[11] == '-1') then
        used, counted = tonumber(state[6]), tonumber(state[7])
    elseif ARGV[11] ~= '-1' then
        used, counted = tonumber(ARGV[11]), math.floor(now)
        redis.call('HSET', KEYS[1], 'month', ARGV[10], 'used', ARGV[11], 'counted', string.format('%.0f', counted))
        redis.call('PEXPIRE', KEYS[1], 86400000)
    end
    if used and used + tokens > monthly then
        return standing(4, 0, 0)
    end
end

local refused_by, wait = 0, 0
if at_once > 0 and lease ~= '' then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    if redis.call('ZCARD', KEYS[2]) + places > at_once then
        refused_by, wait = 3, 1000
    end
end
local function missing(amount, has, per_minute, name)
    local by = amount - has
    if per_minute > 0 and amount > 0 and by > SLACK and by * 60000 / per_minute > wait then
        refused_by, wait = name, by * 60000 / per_minute
    end
end
missing(requests, has_requests, rpm, 1)
missing(reserved, has_tokens, tpm, 2)
if refused_by > 0 then
    return standing(refused_by, wait, 0)
end

local at = string.format('%.3f', now)
if rpm > 0 then
    has_requests = has_requests - requests
    redis.call('HSET', KEYS[1], 'r', string.format('%.9f', has_requests), 'ra', at)
end
if tpm > 0 then
    has_tokens = has_tokens - reserved
    redis.call('HSET', KEYS[1], 't', string.format('%.9f', has_tokens), 'ta', at)
end
if used then
    redis.call('HINCRBY', KEYS[1], 'used', tokens)
end
redis.call('PEXPIRE', KEYS[1], 86400000)
if at_once > 0 and lease ~= '' then
    redis.call('ZADD', KEYS[2], now + ARGV[9], lease)
    for place = 2, places do
        redis.call('ZADD', KEYS[2], now + ARGV[9], lease .. '#' .. place)
    end
    redis.call('PEXPIRE', KEYS[2], ARGV[9])
end
return standing(0, 0, counted)
