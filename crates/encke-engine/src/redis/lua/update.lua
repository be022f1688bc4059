-- Changes a public channel. KEYS after the partition's: its stream.
--
-- ARGV: 2 name, 3 topic, 4 time, 5 'c' to make it, 'r' to set it, '' for neither, 6 content type, 7 until when it lasts (-1), 8 for how long it may be idle (-1), 9 producer (''), 10 its
-- epoch, 11 its sequence, 12 1 to close it, 13 the id of a message (''), 14 its text, 15 its bytes, 16 when it expires (''), 17 the most messages, 18 the most bytes, 19 the greatest age,
-- 20 how many producers there may be, 21 how long one is kept, 22 of how many sequences the places are kept, 23 how far a use without a message moves the end at least.
-- Returns the epoch, 1 if it was made, 1 if the producer sent this before, the message's id and offset ('', 0), the head, 1 if it is closed.
local name, topic, now = ARGV[2], ARGV[3], tonumber(ARGV[4])
local configure, producer, producer_epoch, sequence = ARGV[5], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local closes, id, producers_max, kept = ARGV[12] == '1', ARGV[13], tonumber(ARGV[20]), tonumber(ARGV[21])
local stream = KEYS[STREAMS + 1]
local channel, known = find(name)
local of_log = known and metadata(name) or nil

local function told(made, repeated, message, offset)
  return { epoch, made, repeated, message, digits(offset), digits(channel[2]), of_log and of_log[1] or 0 }
end

local ends = ends_of(of_log)
if ends and ends <= now then return redis.error_reply('ENDED ' .. name) end
if known and configure == 'c' or not known and configure == '' and id == '' and not closes then return told(0, 0, '', 0) end

local stamp = tonumber(redis.call('HGET', META, 'stamp') or 0)
local sequences
if producer ~= '' then
  sequences = of_log and of_log[6][producer]
  if sequences and sequences[3] + kept < stamp then sequences = nil end
  local last_epoch, next = 0, 0
  if sequences then last_epoch, next = sequences[1], sequences[2] end
  if producer_epoch < last_epoch then return redis.error_reply('FENCED ' .. digits(last_epoch)) end
  local expected = producer_epoch > last_epoch and 0 or next
  if sequence > expected then return redis.error_reply('GAP ' .. digits(expected)) end
  if sequence < expected then
    local message = sequences[4][#sequences[4] - (next - sequence) + 1]
    if message then return told(0, 1, message[1], message[2]) end
    return told(0, 1, '', 0)
  end
  if not sequences and of_log then
    local others, old = 0, {}
    for other, of_other in pairs(of_log[6]) do
      if of_other[3] + kept < stamp then old[#old + 1] = other else others = others + 1 end
    end
    if others >= producers_max then return redis.error_reply('MANY producers') end
    for _, other in ipairs(old) do of_log[6][other] = nil end
  end
end
if id ~= '' and of_log and of_log[1] == 1 then return redis.error_reply('CLOSED ' .. name) end

if not known then redis.call('DEL', stream) end
if not of_log and (configure ~= '' or producer ~= '' or closes) then of_log = { 0, '', -1, -1, now, {} } end
local used = false
if configure ~= '' then of_log[2], of_log[3], of_log[4], used = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), true end
if closes then of_log[1] = 1 end
local offset = 0
if id ~= '' then
  offset = put(name, stream, channel, of_log, ARGV[14], tonumber(ARGV[15]), now, tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18]), tonumber(ARGV[19]))
  if offset == (channel[9] or 0) + 1 then redis.call('ZADD', NAMES, 0, name) end
end
if producer ~= '' then
  local places = sequences and sequences[1] == producer_epoch and sequences[4] or {}
  places[#places + 1] = id ~= '' and { id, offset } or false
  while #places > tonumber(ARGV[22]) do table.remove(places, 1) end
  of_log[6][producer] = { producer_epoch, sequence + 1, stamp, places }
end
if of_log then
  used = used or now >= of_log[5] + tonumber(ARGV[23])
  if used then of_log[5] = math.max(of_log[5], now) end
  if used or id ~= '' or producer ~= '' or closes then keep_metadata(name, of_log) end
  local due = earlier(channel[5], ends_of(of_log))
  if due ~= channel[5] then
    channel[5] = due
    redis.call('ZADD', DUE, digits(due), name)
    keep(name, channel)
  end
end
if not known then keep(name, channel) end
if id ~= '' then redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(offset) .. '\n' .. ARGV[14]) end
-- Who follows it finds out by reading. It is told at the place that positions.lua tells from now on.
if closes then redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(told_place(name, channel[2])) .. '\n') end
return told(known and 0 or 1, 0, id, offset)
