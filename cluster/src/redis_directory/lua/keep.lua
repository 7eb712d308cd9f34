-- KEYS: room. ARGV: id, incarnation, epoch, number of this state, state.
local entry = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'seq')
if entry[1] ~= ARGV[1] or entry[2] ~= ARGV[2] or entry[3] ~= ARGV[3] then
    return 0
end
-- One that was under way for long must not replace a newer one.
if tonumber(entry[4] or '0') < tonumber(ARGV[4]) then
    redis.call('HSET', KEYS[1], 'seq', ARGV[4], 'state', ARGV[5])
end
return 1
