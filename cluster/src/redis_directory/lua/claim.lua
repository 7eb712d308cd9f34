-- KEYS: room. ARGV: prefix, id, incarnation, room, lease, doubt, gap, not after,
-- lone since, '1' when the claimer runs it already.
local prefix, id, incarnation, room = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = now_ms()

-- Redis stood still with this in its queue: nobody waits for the answer any more.
if now > tonumber(ARGV[8]) then
    return { 'late' }
end
if not is_alive(prefix, id, incarnation) then
    return { 'unleased' }
end

local entry = redis.call('HMGET', KEYS[1], 'node', 'incarnation', 'epoch', 'state')
local mine = entry[1] == id and entry[2] == incarnation
if not mine then
    if entry[1] and is_alive(prefix, entry[1], entry[2]) then
        return { 'taken', entry[1], entry[2], entry[3] }
    end
    local buried = entry[1] and redis.call('EXISTS', gone_key(prefix, entry[1], entry[2])) == 1
    if not buried then
        local rest = settling(prefix, now, tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[9])
        if rest > 0 then
            return { 'settling', num(rest) }
        end
    end
    if entry[1] then
        disown(prefix, room, entry[1], entry[2])
    end
end

local epoch = next_epoch(prefix, now, tonumber(entry[3] or ''))
own(prefix, room, id, incarnation, epoch)
if mine and ARGV[10] == '1' then
    redis.call('HDEL', KEYS[1], 'state')
    return { 'granted', num(epoch) }
end
return { 'granted', num(epoch), entry[4] }
