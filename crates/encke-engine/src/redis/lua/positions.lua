-- Where channels are. ARGV: from 2 on their names. Returns the epoch and each one's head.
local heads = redis.call('HMGET', HEADS, unpack(ARGV, 2))
local found = { epoch }
for at, packed in ipairs(heads) do
  found[at + 1] = packed and cmsgpack.unpack(packed)[2] or floor_of(ARGV[at + 1])
end
return found
