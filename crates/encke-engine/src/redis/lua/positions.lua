-- Where nodes are told that channels are. ARGV: from 2 on their names. Returns the epoch and each one's place.
local heads = redis.call('HMGET', HEADS, unpack(ARGV, 2))
local found = { epoch }
for at, packed in ipairs(heads) do
  local name = ARGV[at + 1]
  found[at + 1] = packed and told_place(name, cmsgpack.unpack(packed)[2]) or floor_of(name)
end
return found
