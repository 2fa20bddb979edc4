-- Puts figures of one replica in their places, and tells when that was by this server's clock.
-- KEYS: 1 who there is: by replica, the time it published and its state (hash), 2 the replica's places (hash)
-- ARGV: 1 replica, 2 its state, 3 how long all of it stays, in ms, 4 '1' to forget those who are gone,
--       5.. place and figures, in turn
-- Returns {now in ms, 1 if there was something of the replica}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[3])

if ARGV[4] == '1' then
    local known = redis.call('HGETALL', KEYS[1])
    for at = 1, #known, 2 do
        local seen = tonumber(string.match(known[at + 1], '^%d+')) or 0
        if seen < now - ttl then
            redis.call('HDEL', KEYS[1], known[at])
        end
    end
end

local was_known = redis.call('EXISTS', KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d ', now) .. ARGV[2])
redis.call('HSET', KEYS[2], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return {now, was_known}
