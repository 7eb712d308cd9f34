-- KEYS: room. ARGV: prefix, id, incarnation, room, epoch, id and incarnation of the next owner, not after.
local prefix, id, incarnation, room = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()
if now > tonumber(ARGV[8]) then
    return { 'late' }
end
if not is_alive(prefix, id, incarnation) then
    return { 'unleased' }
end
local entry = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch')
if entry[1] ~= id or entry[2] ~= incarnation or entry[3] ~= ARGV[5] or not is_alive(prefix, ARGV[6], ARGV[7]) then
    return { 'refused' }
end
disown(prefix, room, id, incarnation)
local epoch = next_epoch(prefix, now, tonumber(entry[3]))
own(prefix, room, ARGV[6], ARGV[7], epoch)
return { 'done', num(epoch) }
