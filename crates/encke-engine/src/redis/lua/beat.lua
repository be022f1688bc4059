-- A node says that it lives. KEYS: 1 until when which life lives, 2 the names of the nodes, 3 which lives ended lately. ARGV: 1 the life, 2 '1' if it begins, 3 the node's name, 4 for
-- how long it lives, 5 for how long ended lives are remembered, 6 how many of them. Returns 0 if it was taken for dead; else 1, the lives and names of all, and the lives that ended lately.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number) return string.format('%.0f', number) end
for _, life in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', digits(now))) do
  redis.call('ZADD', KEYS[3], digits(now + tonumber(ARGV[5])), life)
  redis.call('ZREM', KEYS[1], life)
  redis.call('HDEL', KEYS[2], life)
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', digits(now))
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[6]))
if ARGV[2] ~= '1' and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return { 0, {}, {} } end
redis.call('ZADD', KEYS[1], digits(now + tonumber(ARGV[4])), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local nodes = {}
for _, life in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  nodes[#nodes + 1] = life
  nodes[#nodes + 1] = redis.call('HGET', KEYS[2], life) or ''
end
return { 1, nodes, redis.call('ZRANGE', KEYS[3], 0, -1) }
