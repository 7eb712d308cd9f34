-- KEYS: rooms of this member. ARGV: prefix, id, incarnation, '1' to keep the entries for another day, then a room and its epoch, and so on.
-- Answers how many entries were written, then index, node, incarnation and epoch of each room that another has rightfully.
local prefix, id, incarnation = ARGV[1], ARGV[2], ARGV[3]
if not is_alive(prefix, id, incarnation) then
    return { 'unleased' }
end
local answer = { 'ok', 0 }
local highest = num_at(prefix .. 'epoch') or 0
for i = 5, #ARGV, 2 do
    local room, epoch = ARGV[i], tonumber(ARGV[i + 1])
    local key = prefix .. 'room:' .. room
    local entry = redis.call('HMGET', key, 'node', 'incarnation', 'epoch')
    local mine = entry[1] == id and entry[2] == incarnation
    local theirs = tonumber(entry[3] or '') or 0
    if mine and theirs == epoch then
        if ARGV[4] == '1' then
            redis.call('PEXPIRE', key, DAY_MS)
        end
    elseif entry[1] and not mine and (theirs > epoch or (theirs == epoch and tonumber(entry[2]) > tonumber(incarnation))) then
        answer[#answer + 1] = (i - 5) / 2
        answer[#answer + 1] = tonumber(entry[3])
    else
        if entry[1] and not mine then
            disown(prefix, room, entry[1], entry[2])
        end
        own(prefix, room, id, incarnation, epoch)
        answer[2] = answer[2] + 1
        highest = math.max(highest, epoch, theirs)
    end
end
if answer[2] > 0 then
    redis.call('SET', prefix .. 'epoch', num(highest))
end
redis.call('PEXPIRE', KEYS[1], DAY_MS)
return answer
