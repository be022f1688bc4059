-- Moves receipts forward. ARGV: from 2 on, for each mark, the user, the epoch, the offset, the state, when.
local function last_shared(channel, with)
  if with == channel[1] then return channel[2] end
  local kept = channel[2]
  for at = 1, #channel[8], 2 do
    kept = math.min(kept, channel[8][at + 1])
    if channel[8][at] == with then return kept end
  end
end

for at = 2, #ARGV, 5 do
  local user, of, offset, state, now = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local name = '@' .. user
  local channel, known = find(name)
  local shared = known and last_shared(channel, of)
  -- A position of an earlier epoch counts as far as that one's log was kept; of the present one, what is not there yet cannot have been handed to anybody.
  if shared and (of == channel[1] or offset <= shared) then
    local field = state == DELIVERED and 6 or 7
    local from, to = channel[field], math.min(offset, shared)
    if to > from then
      local open = redis.call('ZRANGEBYLEX', OPEN, '[' .. place(user, from + 1), '[' .. place(user, to) .. '\255')
      for _, member in ipairs(open) do
        local id = string.sub(member, -22)
        local packed = redis.call('HGET', RECEIPTS, id .. user)
        if packed then
          local receipt = cmsgpack.unpack(packed)
          local ends = tonumber(redis.call('HGET', PUSHES, id) or '')
          -- Who was skipped because the time was over does not become delivered by what came behind.
          local expired = receipt[1] == QUEUED and ends and ends <= now
          if receipt[1] < state and not expired then
            redis.call('HSET', RECEIPTS, id .. user, cmsgpack.pack({ state, now, receipt[3] }))
            if state == SHOWN then redis.call('ZREM', OPEN, member) end
          end
        end
      end
      channel[field] = to
      keep(name, channel)
    end
  end
end
return 1
