-- Lines of a run behind a position; if `back`, those ahead of it (0: of the end), of all runs where none is named.
-- In: run or "", at, limit, back, prefix.
-- Out: {position, text, ...}.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local found = {}
local function add(entries)
  for _, entry in ipairs(entries) do
    found[#found + 1] = string.match(entry[1], '^%d+')
    found[#found + 1] = entry[2][2]
  end
end

local at = string.format('%.0f', ask.at)
if ask.run ~= '' then
  local log = ask.prefix .. 'task:log:' .. ask.run
  if ask.back then
    add(call('XREVRANGE', log, ask.at > 0 and '(' .. at .. '-0' or '+', '-', 'COUNT', ask.limit))
  else
    add(call('XRANGE', log, '(' .. at .. '-0', '+', 'COUNT', ask.limit))
  end
else
  local behind = ask.at > 0 and '(' .. at or '+inf'
  for _, member in ipairs(call('ZREVRANGEBYSCORE', ask.prefix .. 'log:all', behind, '-inf', 'LIMIT', 0, ask.limit)) do
    local place, run = string.match(member, '^(%d+):(.*)$')
    add(call('XRANGE', ask.prefix .. 'task:log:' .. run, place .. '-0', place .. '-0'))
  end
end
return cmsgpack.pack(found)
