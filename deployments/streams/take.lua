-- Gives a running stream another owner, in place of one that was lost.
-- KEYS: 1 the stream (hash). ARGV: 1 the lost owner, 2 the new one
-- Returns who owns it now, '' for nobody.
local found = redis.call('HMGET', KEYS[1], 'owner', 'state')
if found[2] ~= 'running' then
    return ''
elseif found[1] ~= ARGV[1] then
    return found[1]
end
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'losses', 1)
return ARGV[2]
