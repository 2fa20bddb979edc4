-- KEYS[1]: where the claim stands. ARGV: mine, the holder that may be replaced ('' for nobody), milliseconds to live.
-- Returns who holds it now.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[2] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
