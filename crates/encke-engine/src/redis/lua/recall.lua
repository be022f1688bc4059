-- What a key led to, without doing anything. ARGV: 2 key.
-- Returns the id, the epoch, what was kept with the key, the names, the offsets; nothing when the key is not known.
local known = redis.call('HGET', KEPT, ARGV[2])
if not known then return false end
return cmsgpack.unpack(known)
