-- Whether channels take appends. ARGV: from 2 on their names. Returns 1, or an error for the first that is closed.
if has_metadata then
  for at = 2, #ARGV do
    if is_closed(ARGV[at]) then return redis.error_reply('CLOSED ' .. ARGV[at]) end
  end
end
return 1
