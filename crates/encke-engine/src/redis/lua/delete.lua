-- Deletes a channel, and with a user's own all that is known of the user. ARGV: 2 its name, 3 its topic. KEYS after the partition's: its stream.
-- Returns 1 if there was anything. Receipts of the user lie at offsets up to the floor, and are not told any more; the sweep forgets them with their pushes.
local name, topic = ARGV[2], ARGV[3]
local channel, known = find(name)
local user = owner(name)
if not known and not (user and redis.call('HEXISTS', PEOPLE, user) == 1) then return 0 end
drop(name, topic, KEYS[STREAMS + 1], channel)
return 1
