-- The receipts of a push in this partition. ARGV: 2 the push, 3 behind which user ('' from the first on), 4 the most.
-- Returns when the push expires (''), then each user, state and time; nothing when there is no such push.
local id = ARGV[2]
local ends = redis.call('HGET', PUSHES, id)
if not ends then return false end
local members = redis.call('ZRANGEBYLEX', ROSTER, '(' .. id .. ARGV[3], '[' .. id .. '\255', 'LIMIT', 0, ARGV[4])
local found = { ends }
for _, member in ipairs(members) do
  local packed = redis.call('HGET', RECEIPTS, member)
  if packed then
    local receipt = cmsgpack.unpack(packed)
    found[#found + 1] = string.sub(member, 23)
    found[#found + 1] = receipt[1]
    found[#found + 1] = receipt[2]
  end
end
return found
