-- The public channels by name. ARGV: 2 behind which ('' from the first on), 3 the most. Returns the epoch, then each one's name, tail and head.
local after = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local names = redis.call('ZRANGEBYLEX', NAMES, after, '+', 'LIMIT', 0, ARGV[3])
local found = { epoch }
for _, name in ipairs(names) do
  local channel = find(name)
  found[#found + 1] = name
  found[#found + 1] = channel[3]
  found[#found + 1] = channel[2]
end
return found
