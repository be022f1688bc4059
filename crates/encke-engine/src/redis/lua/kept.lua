-- Which of these places are of channels that were not deleted since. ARGV: from 2 on, for each place, the name and the offset.
-- Returns 1 or 0 for each.
local kept = {}
for at = 2, #ARGV, 2 do kept[#kept + 1] = is_kept(ARGV[at], tonumber(ARGV[at + 1])) and 1 or 0 end
return kept
