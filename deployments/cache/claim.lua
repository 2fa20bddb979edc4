-- KEYS[1]: where the claim stands; KEYS[2], if given: where the answer would stand, with which there is nothing to claim.
-- ARGV: mine, the holder that may be replaced ('' for nobody), milliseconds to live.
-- Returns who holds it now, or nothing where the answer stands.
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return false
end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[2] then
  return holder
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ARGV[1]
