-- Keep lines, each in the log of its run and in the order of all. In: lines {run, text}, prefix.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local last = call('INCRBY', ask.prefix .. 'log:last', #ask.lines)
local entries = {}
for number, line in ipairs(ask.lines) do
  local at = string.format('%.0f', last - #ask.lines + number)
  call('XADD', ask.prefix .. 'task:log:' .. line[1], at .. '-0', 'line', line[2])
  entries[#entries + 1] = at
  entries[#entries + 1] = at .. ':' .. line[1]
end
for from = 1, #entries, 1000 do
  call('ZADD', ask.prefix .. 'log:all', unpack(entries, from, math.min(from + 999, #entries)))
end
return cmsgpack.pack(last)
