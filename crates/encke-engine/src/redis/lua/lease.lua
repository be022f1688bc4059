-- Whether a node is the one that sweeps. KEYS: 1 who it is. ARGV: 1 who asks, 2 for how long, 0 to give it up.
local who = redis.call('GET', KEYS[1])
if who and who ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
