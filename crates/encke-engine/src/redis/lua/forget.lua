-- Forgets a key that leads to messages in deleted channels alone. ARGV: 2 key, 3 the id that it led to.
local known = redis.call('HGET', KEPT, ARGV[2])
if known and cmsgpack.unpack(known)[1] == ARGV[3] then
  redis.call('HDEL', KEPT, ARGV[2])
  redis.call('ZREM', AGES, ARGV[2])
end
return 1
