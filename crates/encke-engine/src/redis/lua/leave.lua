-- Users are not on a node any more. ARGV: 2 the node's life, 3 and on: the users.
for at = 3, #ARGV do
  local lives = redis.call('HGET', PLACES, ARGV[at])
  if lives then
    local left = {}
    for life in string.gmatch(lives, '%x+') do
      if life ~= ARGV[2] then left[#left + 1] = life end
    end
    if #left == 0 then redis.call('HDEL', PLACES, ARGV[at]) else redis.call('HSET', PLACES, ARGV[at], table.concat(left, ' ')) end
  end
end
return 1
