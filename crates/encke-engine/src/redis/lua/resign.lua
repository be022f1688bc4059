-- A node ends. KEYS as for a beat. ARGV: 1 the life, 2 for how long it is remembered as ended.
local time = redis.call('TIME')
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZADD', KEYS[3], string.format('%.0f', tonumber(time[1]) * 1000 + tonumber(ARGV[2])), ARGV[1])
return 1
