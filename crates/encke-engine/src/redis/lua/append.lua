-- Appends one message to channels of a partition, or finds out that its key did so before.
--
-- ARGV: 2 key ('' for none), 3 how much longer than others this key is kept, 4 how many keys of clients, or else of backends, there may be, 5 id, 6 the message's text, 7 its bytes,
-- 8 time, 9 expires (''), 10 until when receipts are kept ('' for a publish), 11 what is to be kept with the key, 12 an intent to be kept until all partitions have the message (''),
-- 13 the hash of the key's request (''), 14 how many keys of its user there may be ('' for a backend's), 15 for how many seconds their order is kept; then for each channel its name, its
-- topic, the most messages, the most bytes, the greatest age. With a user's key the order of this user's keys follows the streams.
-- Returns 1 for a repeat, or 2 for one that comes with another request, the id, the epoch, what was kept with the key, the intent if it is still there, the names, the offsets.
local key, id, text, size, now, expires, keep_until = ARGV[2], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
local ARGUMENTS, EACH = 15, 5
local keys, ages = KEPT, AGES
if ARGV[14] ~= '' then keys, ages = CLIENT_KEPT, CLIENT_AGES end

local function forget(old)
  redis.call('HDEL', keys, old)
  redis.call('ZREM', ages, old)
end

-- Remembers in which order the keys of the user came, and forgets the oldest of too many. What the sweep has forgotten is passed over: two with each that comes.
local function put_in_order(order)
  for _ = 1, 2 do
    local first = redis.call('LINDEX', order, 0)
    if not first or redis.call('HEXISTS', keys, first) == 1 then break end
    redis.call('LPOP', order)
  end
  if redis.call('RPUSH', order, key) > tonumber(ARGV[14]) then forget(redis.call('LPOP', order)) end
  redis.call('EXPIRE', order, ARGV[15])
end

if key ~= '' then
  local known = redis.call('HGET', keys, key)
  if known then
    local first = cmsgpack.unpack(known)
    local names, offsets = {}, {}
    for at, name in ipairs(first[4]) do
      -- Of an append to several partitions each answers for itself, and says all: the others go by the last name.
      if first[3] ~= '' or tonumber(ARGV[3]) > 0 or is_kept(name, first[5][at]) then names[#names + 1], offsets[#offsets + 1] = name, first[5][at] end
    end
    -- A part that is still being asked for must not be forgotten before the note of the whole is removed.
    if tonumber(ARGV[3]) > 0 then redis.call('ZADD', ages, 'XX', 'GT', digits(tonumber(redis.call('HGET', META, 'stamp') or 0) + tonumber(ARGV[3])), key) end
    -- A key of which nothing is left is as good as new.
    if #names > 0 or #first[4] == 0 then
      -- Older keys have no hash.
      local reused = first[6] and first[6] ~= '' and ARGV[13] ~= '' and first[6] ~= ARGV[13]
      return { reused and 2 or 1, first[1], first[2], first[3], redis.call('HGET', INTENTS, first[1]) or '', names, offsets }
    end
  end
end

-- A part of an append to several partitions, all of which were found to take it, passes over what was closed or has ended since.
local is_part = tonumber(ARGV[3]) > 0
local passed_over = {}
if has_metadata then
  for at = ARGUMENTS + 1, #ARGV, EACH do
    local refusal = refuses(ARGV[at], now)
    if refusal then
      if not is_part then return redis.error_reply(refusal) end
      passed_over[ARGV[at]] = true
    end
  end
end

local names, offsets, streams = {}, {}, 0
for at = ARGUMENTS + 1, #ARGV, EACH do
  local name, topic, max_messages, max_bytes, max_age = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  streams = streams + 1
  local stream = KEYS[STREAMS + streams]
  if not passed_over[name] then
    local channel, known = find(name)
    if not known then redis.call('DEL', stream) end
    local of_log = metadata(name)
    local offset = put(name, stream, channel, of_log, text, size, now, expires, max_messages, max_bytes, max_age)
    if of_log then keep_metadata(name, of_log) end
    local user = owner(name)
    if not user then
      -- A log may have been made before its first message.
      if offset == (channel[9] or 0) + 1 then redis.call('ZADD', NAMES, 0, name) end
    elseif keep_until ~= '' then
      if redis.call('HSETNX', PEOPLE, user, digits(now) .. ' ') == 1 then redis.call('ZADD', USERS, 0, user) end
      redis.call('HSET', RECEIPTS, id .. user, cmsgpack.pack({ QUEUED, now, offset }))
      redis.call('ZADD', ROSTER, 0, id .. user)
      redis.call('ZADD', OPEN, 0, place(user, offset) .. id)
    end
    redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(offset) .. '\n' .. text)
    names[#names + 1], offsets[#offsets + 1] = name, offset
  end
end

if keep_until ~= '' then
  redis.call('HSET', PUSHES, id, ARGV[9])
  redis.call('ZADD', ENDS, keep_until, id)
end
if key ~= '' or ARGV[12] ~= '' then
  local stamp = tonumber(redis.call('HGET', META, 'stamp') or 0)
  if key ~= '' then
    if redis.call('HLEN', keys) >= tonumber(ARGV[4]) then forget(redis.call('ZRANGE', ages, 0, 0)[1] or '') end
    redis.call('HSET', keys, key, cmsgpack.pack({ id, epoch, ARGV[11], names, offsets, ARGV[13] }))
    redis.call('ZADD', ages, digits(stamp + tonumber(ARGV[3])), key)
    if ARGV[14] ~= '' then put_in_order(KEYS[STREAMS + streams + 1]) end
  end
  if ARGV[12] ~= '' then redis.call('HSET', INTENTS, id, string.format('%015.0f', stamp) .. ARGV[12]) end
end
return { 0, id, epoch, '', '', names, offsets }
