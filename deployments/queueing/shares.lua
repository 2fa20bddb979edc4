-- Keeps an ingress replica's lease of a model's places for another while, and tells its share of them.
-- KEYS: 1 the leases: by replica, "wanted places expires-in-ms" (hash)
-- ARGV: 1 replica, 2 capacity, 3 places wanted, 4 places filled, 5 the lease in ms
-- Returns the share
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local replica, capacity, lease = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5])

local wants, free = {{replica, tonumber(ARGV[3])}}, capacity
local known = redis.call('HGETALL', KEYS[1])
for at = 1, #known, 2 do
    local wanted, places, expires = string.match(known[at + 1], '^(%d+) (%d+) (%d+)$')
    if not expires or tonumber(expires) <= now then
        redis.call('HDEL', KEYS[1], known[at])
    elseif known[at] ~= replica then
        wants[#wants + 1] = {known[at], tonumber(wanted)}
        free = free - tonumber(places)
    end
end

table.sort(wants, function(a, b)
    if a[2] ~= b[2] then
        return a[2] < b[2]
    end
    return a[1] < b[1]
end)
local left, share = capacity, 0
for at = 1, #wants do
    local given = math.min(wants[at][2], math.floor(left / (#wants - at + 1)))
    left = left - given
    if wants[at][1] == replica then
        share = given
    end
end
share = math.max(1, math.min(math.max(1, share + math.floor(left / #wants)), free))

-- What is wanted, and a quarter for what may come soon; the rest is not kept from others.
local withheld = math.min(share, tonumber(ARGV[3]) + math.max(1, math.floor(share / 4)))
local held = math.max(withheld, tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], replica, string.format('%d %d %d', tonumber(ARGV[3]), held, now + lease))
redis.call('PEXPIRE', KEYS[1], lease)
return share
