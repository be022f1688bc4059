-- Where a channel stands, and what it is set to. ARGV: 2 its name. Returns nothing when it is not there; else the epoch, the head, 1 if it is closed, its content type (''), until when it
-- lasts (-1), for how long it may be idle (-1), when it ends (-1).
local channel, known = find(ARGV[2])
if not known then return false end
local of_log = metadata(ARGV[2]) or { 0, '', -1, -1, 0, {} }
return { epoch, digits(channel[2]), of_log[1], of_log[2], digits(of_log[3]), digits(of_log[4]), digits(ends_of(of_log) or -1) }
