-- Appends one message to channels of a partition, or finds out that its key did so before.
--
-- ARGV: 2 key ('' for none), 3 how much longer than others this key is kept, 4 how many keys there may be, 5 id, 6 the message's text, 7 its bytes, 8 time, 9 expires (''), 10 until when
-- receipts are kept ('' for a publish), 11 what is to be kept with the key, 12 an intent to be kept until all partitions have the message (''), 13 the hash of the key's
-- request (''); then for each channel its name, its topic, the most messages, the most bytes, the greatest age.
-- Returns 1 for a repeat, or 2 for one that comes with another request, the id, the epoch, what was kept with the key, the intent if it is still there, the names, the offsets.
local key, id, text, size, now, expires, keep_until = ARGV[2], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local ARGUMENTS, EACH = 13, 5

if key ~= '' then
  local known = redis.call('HGET', KEPT, key)
  if known then
    local first = cmsgpack.unpack(known)
    local names, offsets = {}, {}
    for at, name in ipairs(first[4]) do
      -- Of an append to several partitions each answers for itself, and says all: the others go by the last name.
      if first[3] ~= '' or tonumber(ARGV[3]) > 0 or is_kept(name, first[5][at]) then names[#names + 1], offsets[#offsets + 1] = name, first[5][at] end
    end
    -- A part that is still being asked for must not be forgotten before the note of the whole is removed.
    if tonumber(ARGV[3]) > 0 then redis.call('ZADD', AGES, 'XX', 'GT', digits(tonumber(redis.call('HGET', META, 'stamp') or 0) + tonumber(ARGV[3])), key) end
    -- A key of which nothing is left is as good as new.
    if #names > 0 or #first[4] == 0 then
      -- Older keys have no hash.
      local reused = first[6] and first[6] ~= '' and ARGV[13] ~= '' and first[6] ~= ARGV[13]
      return { reused and 2 or 1, first[1], first[2], first[3], redis.call('HGET', INTENTS, first[1]) or '', names, offsets }
    end
  elseif redis.call('HLEN', KEPT) >= tonumber(ARGV[4]) then
    return redis.error_reply('FULL too many idempotency keys')
  end
end

local names, offsets = {}, {}
for at = ARGUMENTS + 1, #ARGV, EACH do
  local name, topic, max_messages, max_bytes, max_age = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local stream = KEYS[STREAMS + #names + 1]
  local channel, known = find(name)
  if not known then redis.call('DEL', stream) end
  local offset = channel[2] + 1
  redis.call('XADD', stream, digits(offset) .. '-0', 'm', text)
  channel[2], channel[4] = offset, channel[4] + size
  local due = channel[5]
  if count(channel) == 1 then due = due_at(now, expires, max_age) end
  if over(channel, max_messages, max_bytes) then
    while over(channel, max_messages, max_bytes) do
      -- One more than goes at a time, as the next one says when it is due.
      local found = oldest(stream, channel, 2)
      remove(name, channel, found[1], now)
      if found[2] then
        local _, time, ends = header(found[2][2])
        -- A due time that is too early only makes the sweep look in vain; so it is moved in one direction.
        due = math.min(due, due_at(time, ends, max_age))
      end
    end
    cut(stream, channel)
  end
  if due ~= channel[5] then
    channel[5] = due
    redis.call('ZADD', DUE, digits(due), name)
  end
  keep(name, channel)
  local user = owner(name)
  if not user then
    if not known then redis.call('ZADD', NAMES, 0, name) end
  elseif keep_until ~= '' then
    if redis.call('HSETNX', PEOPLE, user, digits(now) .. ' ') == 1 then redis.call('ZADD', USERS, 0, user) end
    redis.call('HSET', RECEIPTS, id .. user, cmsgpack.pack({ QUEUED, now, offset }))
    redis.call('ZADD', ROSTER, 0, id .. user)
    redis.call('ZADD', OPEN, 0, place(user, offset) .. id)
  end
  redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(offset) .. '\n' .. text)
  names[#names + 1], offsets[#offsets + 1] = name, offset
end

if keep_until ~= '' then
  redis.call('HSET', PUSHES, id, ARGV[9])
  redis.call('ZADD', ENDS, keep_until, id)
end
if key ~= '' or ARGV[12] ~= '' then
  local stamp = tonumber(redis.call('HGET', META, 'stamp') or 0)
  if key ~= '' then
    redis.call('HSET', KEPT, key, cmsgpack.pack({ id, epoch, ARGV[11], names, offsets, ARGV[13] }))
    redis.call('ZADD', AGES, digits(stamp + tonumber(ARGV[3])), key)
  end
  if ARGV[12] ~= '' then redis.call('HSET', INTENTS, id, string.format('%015.0f', stamp) .. ARGV[12]) end
end
return { 0, id, epoch, '', '', names, offsets }
