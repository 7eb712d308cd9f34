-- KEYS: room. ARGV: prefix.
local entry = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch')
if entry[1] and is_alive(ARGV[1], entry[1], entry[2]) then
    return entry
end
return {}
