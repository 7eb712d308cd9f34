-- KEYS: node, nodes, rooms of this member. ARGV: prefix, id, incarnation. Answers whether there is more to do.
local prefix, id, incarnation = ARGV[1], ARGV[2], ARGV[3]
for _, room in ipairs(redis.call('SPOP', KEYS[3], 500)) do
    local key = prefix .. 'room:' .. room
    local entry = redis.call('HMGET', key, 'node', 'incarnation')
    if entry[1] == id and entry[2] == incarnation then
        redis.call('DEL', key)
    end
end
if redis.call('SCARD', KEYS[3]) > 0 then
    return 1
end
mark_gone(prefix, id, incarnation)
if is_alive(prefix, id, incarnation) then
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], id)
end
return 0
