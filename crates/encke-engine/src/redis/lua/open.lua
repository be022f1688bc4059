-- Whether channels take appends. ARGV: 2 now; from 3 on their names. Returns 1, or an error for the first that does not.
if has_metadata then
  for at = 3, #ARGV do
    local refusal = refuses(ARGV[at], tonumber(ARGV[2]))
    if refusal then return redis.error_reply(refusal) end
  end
end
return 1
