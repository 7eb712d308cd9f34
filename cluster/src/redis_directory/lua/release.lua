-- KEYS: room. ARGV: prefix, id, incarnation, room, epoch ('' for any).
local entry = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch')
if entry[1] ~= ARGV[2] or entry[2] ~= ARGV[3] or (ARGV[5] ~= '' and entry[3] ~= ARGV[5]) then
    return 0
end
redis.call('DEL', KEYS[1])
disown(ARGV[1], ARGV[4], ARGV[2], ARGV[3])
return 1
