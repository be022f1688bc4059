-- Forgets what is too old in a partition, and says what else is due. ARGV: 2 now, 3 how much time has gone by since the last sweep, 4 how long keys are kept, 5 the most channels to name,
-- 6 the most keys of clients and of backends to forget, 7 the most receipts to forget, 8 how many receipts there may be, 9 how old an intent must be to be finished by somebody else, 10 where the look through the
-- places goes on, 11 and on: lives that have ended.
-- Returns the names of channels to be trimmed, 1 if there is more to forget, intents to be finished, where the look through the places goes on.
local INTENTS_MAX, INTENTS_LOOKED_AT = 4, 64
local now, kept, max_keys, left = ARGV[2], tonumber(ARGV[4]), ARGV[6], tonumber(ARGV[7])
local stamp = tonumber(redis.call('HGET', META, 'stamp') or 0)
if tonumber(ARGV[3]) > 0 then
  stamp = stamp + tonumber(ARGV[3])
  redis.call('HSET', META, 'stamp', digits(stamp))
end
local more = 0

local function forget_old(keys, ages)
  local old = redis.call('ZRANGEBYSCORE', ages, '-inf', '(' .. digits(stamp - kept), 'LIMIT', 0, max_keys)
  if #old == 0 then return end
  redis.call('HDEL', keys, unpack(old))
  redis.call('ZREM', ages, unpack(old))
  if #old == tonumber(max_keys) then more = 1 end
end
forget_old(KEPT, AGES)
forget_old(CLIENT_KEPT, CLIENT_AGES)

while left > 0 do
  local push = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 1)[1]
  if not push and redis.call('HLEN', RECEIPTS) > tonumber(ARGV[8]) then push = redis.call('ZRANGE', ENDS, 0, 0)[1] end
  if not push then break end
  local members = redis.call('ZRANGEBYLEX', ROSTER, '[' .. push, '[' .. push .. '\255', 'LIMIT', 0, left)
  for _, member in ipairs(members) do
    local packed = redis.call('HGET', RECEIPTS, member)
    if packed then redis.call('ZREM', OPEN, place(string.sub(member, 23), cmsgpack.unpack(packed)[3]) .. push) end
    redis.call('HDEL', RECEIPTS, member)
    redis.call('ZREM', ROSTER, member)
  end
  if #members < left then
    redis.call('HDEL', PUSHES, push)
    redis.call('ZREM', ENDS, push)
  end
  left = left - #members - 1
end
if left <= 0 then more = 1 end

local intents = {}
if redis.call('EXISTS', INTENTS) == 1 then
  for at, id in ipairs(redis.call('HKEYS', INTENTS)) do
    if #intents == INTENTS_MAX or at > INTENTS_LOOKED_AT then break end
    local intent = redis.call('HGET', INTENTS, id)
    if tonumber(string.sub(intent, 1, 15)) + tonumber(ARGV[9]) <= stamp then intents[#intents + 1] = intent end
  end
end

local cursor = ARGV[10]
if #ARGV > 10 then
  local ended = {}
  for at = 11, #ARGV do ended[ARGV[at]] = true end
  local scanned = redis.call('HSCAN', PLACES, cursor, 'COUNT', 200)
  cursor = scanned[1]
  for at = 1, #scanned[2], 2 do
    local lives, some = {}, false
    for life in string.gmatch(scanned[2][at + 1], '%x+') do
      if ended[life] then some = true else lives[#lives + 1] = life end
    end
    if some and #lives == 0 then
      redis.call('HDEL', PLACES, scanned[2][at])
    elseif some then
      redis.call('HSET', PLACES, scanned[2][at], table.concat(lives, ' '))
    end
  end
end
return { redis.call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, ARGV[5]), more, intents, cursor }
