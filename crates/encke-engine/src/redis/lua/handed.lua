-- How far a user's own channel was handed over. ARGV: 2 the channel's name. Returns the epoch and the offset.
local channel = find(ARGV[2])
return { epoch, channel[6] }
