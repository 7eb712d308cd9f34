-- KEYS: node, nodes, born, back, gone. ARGV: prefix, id, incarnation, what others are told, lease, gap, doubt.
local prefix, id, incarnation = ARGV[1], ARGV[2], ARGV[3]
local lease, gap, doubt = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local now = now_ms()

if redis.call('EXISTS', KEYS[5]) == 1 then
    return { 'buried' }
end
local held = incarnation_in(redis.call('GET', KEYS[1]))
if held and held ~= incarnation then
    if tonumber(held) > tonumber(incarnation) then
        return { 'superseded' }
    end
    -- A node that was started anew proves that its run before is over.
    mark_gone(prefix, id, held)
end

-- The clock was set back: what lies in the future is as good as now.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], num(now + lease), '+inf')) do
    redis.call('ZADD', KEYS[2], num(now), other)
end

local back = num_at(KEYS[4])
local returned = not back or back > now
local born = redis.call('GET', KEYS[3])
if not born then
    born = num(now) .. '-' .. id
    redis.call('SET', KEYS[3], born)
    returned = true
end
local last = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if last[2] and now - tonumber(last[2]) > gap then
    returned = true
end
local known, live = census(now, doubt, gap, KEYS[2])
if live * 2 < known then
    returned = true
end
if returned then
    back = now
    redis.call('SET', KEYS[4], num(back))
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. num(now - doubt))
redis.call('SET', KEYS[1], incarnation .. ' ' .. ARGV[4], 'PX', lease)
redis.call('ZADD', KEYS[2], num(now), id)

local keys = {}
for i, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    keys[i] = prefix .. 'node:' .. other
end
local answer = { 'ok', num(now), born, num(back) }
for _, value in ipairs(redis.call('MGET', unpack(keys))) do
    if value then
        answer[#answer + 1] = string.sub(value, string.find(value, ' ', 1, true) + 1)
    end
end
return answer
