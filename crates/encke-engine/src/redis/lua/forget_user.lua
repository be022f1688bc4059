-- Forgets the keys of a user that came to this partition. KEYS after the partition's: the order in which they came.
local order = KEYS[STREAMS + 1]
for _, key in ipairs(redis.call('LRANGE', order, 0, -1)) do
  redis.call('HDEL', CLIENT_KEPT, key)
  redis.call('ZREM', CLIENT_AGES, key)
end
redis.call('DEL', order)
return 1
