-- Calls a push back where it is still queued in this partition. ARGV: 2 the push, 3 now; then for each user the name, and the topic of the user's own channel.
-- Returns for how many of them it was. What is told of a cancelled message has '-' in the place of its text.
local id, now = ARGV[2], tonumber(ARGV[3])
local ends = tonumber(redis.call('HGET', PUSHES, id) or '')
if ends and ends <= now then return 0 end
local count = 0
for at = 4, #ARGV, 2 do
  local user, topic = ARGV[at], ARGV[at + 1]
  local packed = redis.call('HGET', RECEIPTS, id .. user)
  local receipt = packed and cmsgpack.unpack(packed)
  if receipt and receipt[1] == QUEUED and is_kept('@' .. user, receipt[3]) then
    redis.call('HSET', META, 'cancelled', 1)
    redis.call('HSET', RECEIPTS, id .. user, cmsgpack.pack({ CANCELLED, now, receipt[3] }))
    redis.call('ZREM', OPEN, place(user, receipt[3]) .. id)
    redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(receipt[3]) .. '\n-')
    count = count + 1
  end
end
return count
