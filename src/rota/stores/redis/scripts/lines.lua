-- Lines behind a position, or ahead of it if `back` (0: from the end). In: run or "", at, limit, back, prefix.
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
  local all, members = ask.prefix .. 'log:all', nil
  if ask.back then
    members = call('ZREVRANGEBYSCORE', all, ask.at > 0 and '(' .. at or '+inf', '-inf', 'LIMIT', 0, ask.limit)
  else
    members = call('ZRANGEBYSCORE', all, '(' .. at, '+inf', 'LIMIT', 0, ask.limit)
  end
  for _, member in ipairs(members) do
    local place, run = string.match(member, '^(%d+):(.*)$')
    add(call('XRANGE', ask.prefix .. 'task:log:' .. run, place .. '-0', place .. '-0'))
  end
end
return cmsgpack.pack(found)
