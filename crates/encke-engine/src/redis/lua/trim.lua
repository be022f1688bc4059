-- Trims what is too old, past its expiry or too much. ARGV: 2 now, 3 the most messages; then for each channel its name, its topic, the most messages, the
-- most bytes, the greatest age. A channel whose time is over goes whole.
-- Returns how many messages more it might have trimmed.
local AT_A_TIME = 32
local now, left = tonumber(ARGV[2]), tonumber(ARGV[3])
local channels = 0

-- A user who was never here is known no longer than a message is kept for it.
local function forget_unseen(user)
  local seen = user and redis.call('HGET', PEOPLE, user)
  if seen and string.sub(seen, -1) == ' ' then
    redis.call('HDEL', PEOPLE, user)
    redis.call('ZREM', USERS, user)
  end
end

for at = 4, #ARGV, 5 do
  local name, topic, max_messages, max_bytes, max_age = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  channels = channels + 1
  local stream = KEYS[STREAMS + channels]
  local channel, known = find(name)
  local ends = known and ends_of(metadata(name))
  if not known then
    redis.call('ZREM', DUE, name)
  elseif ends and ends <= now then
    drop(name, topic, stream, channel)
    left = left - 1
  elseif left > 0 then
    local done, tail = false, channel[3]
    while not done and count(channel) > 0 and left > 0 do
      local found = oldest(stream, channel, math.min(AT_A_TIME, left))
      if not found[1] then
        -- The stream has nothing of what the channel should have.
        channel[3] = channel[2] + 1
        channel[4] = 0
      end
      for _, entry in ipairs(found) do
        while channel[3] < entry[1] do remove(name, channel, nil, now) end
        local _, time, ends = header(entry[2])
        local due = due_at(time, ends, max_age)
        if due <= now or over(channel, max_messages, max_bytes) then
          remove(name, channel, entry, now)
          left = left - 1
        else
          channel[5], done = due, true
          break
        end
      end
    end
    if channel[3] ~= tail then cut(stream, channel) end
    if count(channel) == 0 then
      channel[5] = 0
      forget_unseen(owner(name))
    end
    if ends then channel[5] = earlier(channel[5], ends) end
    keep(name, channel)
    if channel[5] == 0 then redis.call('ZREM', DUE, name) else redis.call('ZADD', DUE, digits(channel[5]), name) end
  end
end
return left
