-- KEYS: node, nodes. ARGV: prefix, id, incarnation.
mark_gone(ARGV[1], ARGV[2], ARGV[3])
local held = incarnation_in(redis.call('GET', KEYS[1]))
if held and held ~= ARGV[3] then
    return 0
end
redis.call('ZREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
