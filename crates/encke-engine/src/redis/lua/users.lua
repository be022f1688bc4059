-- The known users by id. ARGV: 2 behind which ('' from the first on), 3 the most. Returns each one's id and what is known.
local after = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local users = redis.call('ZRANGEBYLEX', USERS, after, '+', 'LIMIT', 0, ARGV[3])
local found = {}
for _, user in ipairs(users) do
  found[#found + 1] = user
  found[#found + 1] = redis.call('HGET', PEOPLE, user) or ''
end
return found
