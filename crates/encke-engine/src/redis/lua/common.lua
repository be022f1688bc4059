-- What stands before every script of a partition.
--
-- KEYS: 1 meta, 2 heads, 3 due, 4 keys, 5 ages, 6 names, 7 users, 8 people, 9 pushes, 10 ends, 11 receipts, 12 roster, 13 open, 14 intents, 15 places,
-- 16 client_keys, 17 client_ages: the keys of clients, where 4 and 5 have those of backends; the streams of the
-- channels that a script is about follow, in the order of its channels. ARGV[1] is 16 random hexadecimal digits, for an epoch that may begin.
--
-- A channel is what `heads` has under its name: { epoch, head, tail, bytes, due, handed, shown, forks, floor }, and its stream, whose entries have the ids OFFSET-0. Its offsets begin
-- behind `floor`, which older stores do not have and which is 0 unless a channel was deleted before (delete.lua).
local META, HEADS, DUE, KEPT, AGES, NAMES, USERS, PEOPLE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local PUSHES, ENDS, RECEIPTS, ROSTER, OPEN, INTENTS, PLACES = KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local CLIENT_KEPT, CLIENT_AGES = KEYS[16], KEYS[17]
local STREAMS = 17
local FORKS_MAX = 16
local QUEUED, DELIVERED, SHOWN, EXPIRED, CANCELLED = 0, 1, 2, 3, 4

local function digits(number) return string.format('%.0f', number) end

-- The epoch of the partition, and those before it, the newest first. It changes whenever Redis may have lost something: each process that begins to be the master has another
-- replication id, whether it was restarted, restored or promoted.
local function fence()
  local info = redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then return nil end
  local replid = string.match(info, 'master_replid:(%x+)')
  local meta = redis.call('HMGET', META, 'replid', 'epoch', 'past', 'deleted', 'metadata', 'cancelled')
  if meta[1] == replid then return meta[2], meta[3], meta[4], meta[5], meta[6] end
  local past = ''
  if meta[2] then
    past = meta[2]
    local kept = 1
    for epoch in string.gmatch(meta[3], '%x+') do
      if kept < FORKS_MAX then past = past .. ' ' .. epoch end
      kept = kept + 1
    end
  end
  redis.call('HSET', META, 'replid', replid, 'epoch', ARGV[1], 'past', past)
  return ARGV[1], past, meta[4], meta[5], meta[6]
end

-- Whether anything was ever deleted here, known of a channel besides messages, or cancelled: if not, it need
-- not be looked for.
local epoch, past, deleted, has_metadata, cancelled = fence()
if not epoch then return redis.error_reply('READONLY this is not the master') end

-- A channel as it is in the present epoch: the epochs that began since it was last written to began when its log was as long as it is now.
local function brought(channel)
  local before = channel[1]
  if before == epoch then return channel end
  local forks = {}
  local function fork(at, offset)
    if #forks < 2 * FORKS_MAX then forks[#forks + 1] = at; forks[#forks + 1] = offset end
  end
  for between in string.gmatch(past, '%x+') do
    if between == before then break end
    fork(between, channel[2])
  end
  fork(before, channel[2])
  for at = 1, #channel[8], 2 do fork(channel[8][at], channel[8][at + 1]) end
  channel[1], channel[8] = epoch, forks
  return channel
end

-- Under which field of `meta` it stands where channels begin whose names are of the same class as this one. A class is a number, so that no deleted name is kept.
local function floor_field(name) return 'floor:' .. string.sub(redis.sha1hex(name), 1, 3) end

-- Behind which offset a channel of this name begins if there is none.
local function floor_of(name) return deleted and tonumber(redis.call('HGET', META, floor_field(name)) or 0) or 0 end

-- A channel, and whether it was there. One that is not there has been as empty in all earlier epochs: what comes into it has an offset behind the floor.
local function find(name)
  local packed = redis.call('HGET', HEADS, name)
  if packed then return brought(cmsgpack.unpack(packed)), true end
  local forks = {}
  local floor = floor_of(name)
  for before in string.gmatch(past, '%x+') do forks[#forks + 1] = before; forks[#forks + 1] = floor end
  return { epoch, floor, floor + 1, 0, 0, floor, floor, forks, floor }, false
end

-- Whether an offset was given by the channel that there is now, and not by one that was deleted.
local function is_kept(name, offset)
  if not deleted then return true end
  local channel, known = find(name)
  return known and offset > (channel[9] or 0)
end

local function keep(name, channel) redis.call('HSET', HEADS, name, cmsgpack.pack(channel)) end

-- How many bytes a message has, when it was accepted and when it expires, and its id: the beginning of its text.
local function header(text)
  local size, time, expires, id = string.match(text, '^(%d+) (%d+) (%d*) (%S+)')
  return tonumber(size), tonumber(time), tonumber(expires), id
end

local function due_at(time, expires, max_age)
  local due = time + max_age + 1
  if expires and expires < due then due = expires end
  return math.min(due, 9007199254740991)
end

-- The user of an own channel; nil for a public one.
local function owner(name)
  if string.sub(name, 1, 1) == '@' then return string.sub(name, 2) end
end

local function place(user, offset) return user .. '\0' .. string.format('%020.0f', offset) end

-- The message at `offset` is gone: whoever was not handed it will never be.
local function expire(user, offset, id, now)
  local packed = redis.call('HGET', RECEIPTS, id .. user)
  if not packed then return end
  local receipt = cmsgpack.unpack(packed)
  if receipt[1] ~= QUEUED then return end
  local ends = tonumber(redis.call('HGET', PUSHES, id) or '')
  local at = now
  if ends and ends < now then at = ends end
  redis.call('HSET', RECEIPTS, id .. user, cmsgpack.pack({ EXPIRED, at, offset }))
  redis.call('ZREM', OPEN, place(user, offset) .. id)
end

local function count(channel) return channel[2] - channel[3] + 1 end

-- More than the retention allows; the newest message is kept whatever it is.
local function over(channel, max_messages, max_bytes)
  return count(channel) > 1 and (count(channel) > max_messages or channel[4] > max_bytes)
end

-- The messages from the tail on, `most` at most, as { offset, text }.
local function oldest(stream, channel, most)
  local found = redis.call('XRANGE', stream, digits(channel[3]) .. '-0', '+', 'COUNT', most)
  for at, entry in ipairs(found) do found[at] = { tonumber(string.match(entry[1], '^%d+')), entry[2][2] } end
  return found
end

-- Takes the oldest message out of the count; the stream is trimmed to the tail afterwards. What is missing from the stream is passed over.
local function remove(name, channel, entry, now)
  if entry and entry[1] == channel[3] then
    local size, _, _, id = header(entry[2])
    channel[4] = math.max(0, channel[4] - size)
    local user = owner(name)
    if user then expire(user, channel[3], id, now) end
  end
  channel[3] = channel[3] + 1
end

local function cut(stream, channel)
  if count(channel) == 0 then
    redis.call('DEL', stream)
  else
    redis.call('XTRIM', stream, 'MINID', digits(channel[3]) .. '-0')
  end
end

-- What is known of a public channel besides its messages: { 1 if it is closed, its content type (''), until when it lasts (-1), for how long it may be idle (-1), when it was last used,
-- its producers by id: { epoch, the next sequence, the stamp of the last one, the messages of the last ones: { id, offset } or false } }. It is a field of `meta`.
local function metadata_field(name) return 'log:' .. name end

local function metadata(name)
  if not has_metadata or owner(name) then return nil end
  local packed = redis.call('HGET', META, metadata_field(name))
  if packed then return cmsgpack.unpack(packed) end
end

local function keep_metadata(name, of_log) redis.call('HSET', META, 'metadata', 1, metadata_field(name), cmsgpack.pack(of_log)) end

local function is_closed(name)
  local of_log = metadata(name)
  return of_log ~= nil and of_log[1] == 1
end

-- Where nodes are told that a channel is: one further if it is closed, so that a node that was not told of the end finds that it is behind.
local function told_place(name, head) return is_closed(name) and head + 1 or head end

-- When a channel ends by itself; nil for never.
local function ends_of(of_log)
  if not of_log then return nil end
  if of_log[3] >= 0 then return of_log[3] end
  if of_log[4] >= 0 then return math.min(of_log[5] + of_log[4], 9007199254740991) end
end

-- Why a channel takes no appends; nil if it does. One that has ended waits for the sweep, which would take the message with it.
local function refuses(name, now)
  local of_log = metadata(name)
  local ends = ends_of(of_log)
  if ends and ends <= now then return 'ENDED ' .. name end
  if of_log and of_log[1] == 1 then return 'CLOSED ' .. name end
end

local function earlier(due, ends)
  if not ends or (due > 0 and due <= ends) then return due end
  return ends
end

-- Appends a message to a channel, of which `of_log` is known or nil: that it was used is still to be kept. Returns its offset.
local function put(name, stream, channel, of_log, text, size, now, expires, max_messages, max_bytes, max_age)
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
  if of_log then
    of_log[5] = math.max(of_log[5], now)
    due = earlier(due, ends_of(of_log))
  end
  if due ~= channel[5] then
    channel[5] = due
    redis.call('ZADD', DUE, digits(due), name)
  end
  keep(name, channel)
  return offset
end

-- Deletes a channel, and with a user's own all that is known of the user.
local function drop(name, topic, stream, channel)
  -- The deletion takes an offset, so that every position of before lies before what comes next.
  local floor = math.max(told_place(name, channel[2]), floor_of(name)) + 1
  redis.call('HSET', META, 'deleted', 1, floor_field(name), digits(floor))
  if has_metadata then redis.call('HDEL', META, metadata_field(name)) end
  redis.call('DEL', stream)
  redis.call('HDEL', HEADS, name)
  redis.call('ZREM', DUE, name)
  local user = owner(name)
  if user then
    redis.call('HDEL', PEOPLE, user)
    redis.call('ZREM', USERS, user)
  else
    redis.call('ZREM', NAMES, name)
  end
  redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(floor) .. '\n')
end
