-- Keeps places of one key's leases for another while; those that were lost are taken anew.
-- KEYS: 1 the places of the key's leases (sorted set). ARGV: 1 a lease's life in ms, then the places
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + time[2] / 1000 + ARGV[1]
for position = 2, #ARGV do
    redis.call('ZADD', KEYS[1], until_ms, ARGV[position])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 0
