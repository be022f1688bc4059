-- Reads a page. ARGV: 2 name, 3 'a' behind the offset, 'b' before it, 'h' nothing, 4 offset, 5 the most messages, 6 the most bytes.
-- Returns the epoch, the forks, the tail, the head, the messages' texts in rising order, 1 if the channel is closed.
local AT_A_TIME = 128
local channel = find(ARGV[2])
local stream = KEYS[STREAMS + 1]
local mode, offset, max_messages, max_bytes = ARGV[3], tonumber(ARGV[4]), math.max(1, tonumber(ARGV[5])), tonumber(ARGV[6])
local head, tail = channel[2], channel[3]
local forwards = mode == 'a'
local first, last, step, next
if forwards then
  first, last = math.max(offset + 1, tail), head
  step, next = 1, first
else
  first, last = tail, math.min(offset - 1, head)
  step, next = -1, last
end
local user = cancelled and owner(ARGV[2])

-- A message as a reader is given it: one that was cancelled has expired, whatever the clock says.
local function told(text)
  if not user then return text end
  local _, _, _, id = header(text)
  local packed = redis.call('HGET', RECEIPTS, id .. user)
  if not packed or cmsgpack.unpack(packed)[1] ~= CANCELLED then return text end
  return (string.gsub(text, '^(%d+ %d+) %d* ', '%1 0 ', 1))
end

local texts, bytes = {}, 0
local left = mode == 'h' and 0 or math.min(last - first + 1, max_messages)
while left > 0 do
  local most, found = math.min(left, AT_A_TIME), nil
  if forwards then
    found = redis.call('XRANGE', stream, digits(next) .. '-0', digits(last) .. '-0', 'COUNT', most)
  else
    found = redis.call('XREVRANGE', stream, digits(next) .. '-0', digits(first) .. '-0', 'COUNT', most)
  end
  if #found < most then left = -1 end
  for _, entry in ipairs(found) do
    if entry[1] ~= digits(next) .. '-0' then left = -1 break end
    bytes = bytes + header(entry[2][2])
    if #texts > 0 and bytes > max_bytes then left = 0 break end
    texts[#texts + 1] = told(entry[2][2])
    next = next + step
  end
  if left < 0 then return redis.error_reply('DAMAGED the message at offset ' .. digits(next) .. ' is missing') end
  if left > 0 then left = left - most end
end
if not forwards then
  local rising = {}
  for at = #texts, 1, -1 do rising[#rising + 1] = texts[at] end
  texts = rising
end
return { epoch, channel[8], tail, head, texts, is_closed(ARGV[2]) and 1 or 0 }
