-- Deletes a channel, and with a user's own all that is known of the user. ARGV: 2 its name, 3 its topic. KEYS after the partition's: its stream.
-- Returns 1 if there was anything. Receipts of the user lie at offsets up to the floor, and are not told any more; the sweep forgets them with their pushes.
local name, topic = ARGV[2], ARGV[3]
local channel, known = find(name)
local user = owner(name)
if not known and not (user and redis.call('HEXISTS', PEOPLE, user) == 1) then return 0 end
-- The deletion takes an offset, so that every position of before lies before what comes next.
local floor = math.max(channel[2], floor_of(name)) + 1
redis.call('HSET', META, 'deleted', 1, floor_field(name), digits(floor))
redis.call('DEL', KEYS[STREAMS + 1])
redis.call('HDEL', HEADS, name)
redis.call('ZREM', DUE, name)
if user then
  redis.call('HDEL', PEOPLE, user)
  redis.call('ZREM', USERS, user)
else
  redis.call('ZREM', NAMES, name)
end
redis.call('SPUBLISH', topic, epoch .. ' ' .. digits(floor) .. '\n')
return 1
