-- In front of every script. Times are milliseconds of Redis' clock. Numbers are written without an exponent.

local function now_ms()
    local t = redis.call('TIME')
    return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function num(n)
    return string.format('%.0f', n)
end

local function num_at(key)
    return tonumber(redis.call('GET', key) or '')
end

-- A node's key holds its incarnation, a blank and what others are told of it.
local function incarnation_in(value)
    return value and string.match(value, '^(%d+) ')
end

local function is_alive(prefix, node, incarnation)
    return incarnation_in(redis.call('GET', prefix .. 'node:' .. node)) == incarnation
end

local function gone_key(prefix, node, incarnation)
    return prefix .. 'gone:' .. node .. '-' .. incarnation
end

local DAY_MS = 86400000

local function mark_gone(prefix, node, incarnation)
    redis.call('SET', gone_key(prefix, node, incarnation), '1', 'PX', DAY_MS)
end

-- How many nodes renewed within the last `doubt` without having left or been proven dead, and how many of them lately: who has
-- not renewed for `gap` may say that Redis is away, although its lease has yet to run out.
local function census(now, doubt, gap, nodes)
    return redis.call('ZCOUNT', nodes, num(now - doubt), '+inf'), redis.call('ZCOUNT', nodes, num(now - gap), '+inf')
end

-- How long rooms without a live owner must still be left to owners that may not have been heard yet.
-- `lone_since`: since when the caller is the only member it knows; '' when it knows others.
local function settling(prefix, now, lease, doubt, gap, lone_since)
    local known, live = census(now, doubt, gap, prefix .. 'nodes')
    local back = num_at(prefix .. 'back') or now
    if lone_since ~= '' and known <= 1 and tonumber(lone_since) < back then
        return 0
    end
    -- A majority that does not renew may have seen that Redis is away for all of them, and go on.
    if live * 2 < known then
        return lease
    end
    return math.max(0, math.min(lease, back + lease - now))
end

-- Epochs grow over all rooms, also those whose entry is gone, and also after epochs given by a node while Redis was away.
local function next_epoch(prefix, now, old)
    local epoch = math.max(now, (old or 0) + 1, (num_at(prefix .. 'epoch') or 0) + 1)
    redis.call('SET', prefix .. 'epoch', num(epoch))
    return epoch
end

local function own(prefix, room, node, incarnation, epoch)
    local key = prefix .. 'room:' .. room
    redis.call('HSET', key, 'node', node, 'incarnation', incarnation, 'epoch', num(epoch))
    redis.call('HDEL', key, 'seq')
    redis.call('PEXPIRE', key, DAY_MS)
    local index = prefix .. 'rooms:' .. node .. '-' .. incarnation
    redis.call('SADD', index, room)
    redis.call('PEXPIRE', index, DAY_MS)
end

local function disown(prefix, room, node, incarnation)
    redis.call('SREM', prefix .. 'rooms:' .. node .. '-' .. incarnation, room)
end

