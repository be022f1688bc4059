-- A user was here. ARGV: 2 the user, 3 when. What is known of a user is "FIRST LAST", the last one empty for who was only pushed to.
local user, at = ARGV[2], tonumber(ARGV[3])
local known = redis.call('HGET', PEOPLE, user)
if not known then
  redis.call('HSET', PEOPLE, user, digits(at) .. ' ' .. digits(at))
  redis.call('ZADD', USERS, 0, user)
else
  local first, last = string.match(known, '^(%d+) (%d*)$')
  if last == '' or tonumber(last) < at then redis.call('HSET', PEOPLE, user, first .. ' ' .. digits(at)) end
end
return 1
