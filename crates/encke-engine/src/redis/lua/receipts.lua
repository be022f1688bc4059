-- The receipts of a push in this partition. ARGV: 2 the push, 3 behind which user ('' from the first on), 4 the most.
-- Returns when the push expires (''), then each user, state, time and offset in the user's log; nothing when there is no such push.
local id = ARGV[2]
local ends = redis.call('HGET', PUSHES, id)
if not ends then return false end
local found, after, left = { ends }, ARGV[3], tonumber(ARGV[4])
while left > 0 do
  local asked = left
  local members = redis.call('ZRANGEBYLEX', ROSTER, '(' .. id .. after, '[' .. id .. '\255', 'LIMIT', 0, asked)
  for _, member in ipairs(members) do
    after = string.sub(member, 23)
    local packed = redis.call('HGET', RECEIPTS, member)
    local receipt = packed and cmsgpack.unpack(packed)
    -- Those of users who were deleted are not told. The caller takes a page that is not full for the last, so others come in their place.
    if receipt and is_kept('@' .. after, receipt[3]) then
      found[#found + 1] = after
      found[#found + 1] = receipt[1]
      found[#found + 1] = receipt[2]
      found[#found + 1] = receipt[3]
      left = left - 1
    end
  end
  if #members < asked then break end
end
return found
