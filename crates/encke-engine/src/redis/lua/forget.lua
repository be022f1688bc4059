-- Forgets a key that leads to messages in deleted channels alone. ARGV: 2 key, 3 the id that it led to, 4 1 if it is a client's.
local keys, ages = KEPT, AGES
if ARGV[4] == '1' then keys, ages = CLIENT_KEPT, CLIENT_AGES end
local known = redis.call('HGET', keys, ARGV[2])
if known and cmsgpack.unpack(known)[1] == ARGV[3] then
  redis.call('HDEL', keys, ARGV[2])
  redis.call('ZREM', ages, ARGV[2])
end
return 1
