-- A user is on a node. ARGV: 2 the user, 3 the node's life. KEYS after the partition's: the tomb of the session, if it is about one.
-- Returns whose session is buried there, and the lives where the user was already.
local user, life = ARGV[2], ARGV[3]
local lives = redis.call('HGET', PLACES, user) or ''
if not string.find(lives, life, 1, true) then
  redis.call('HSET', PLACES, user, lives == '' and life or lives .. ' ' .. life)
end
-- A tomb names its user: a partition has many.
local buried = KEYS[STREAMS + 1] and redis.call('GET', KEYS[STREAMS + 1]) or ''
return { buried, lives }
