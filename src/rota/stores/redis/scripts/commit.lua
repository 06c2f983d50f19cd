-- Compare and set groups of changes, each for itself. Everything is looked at before anything is written.
-- In: guard {kind, key, member or number}, groups {changes, tally}, hints {channel, text} or false, prefix.
-- A change: {key, version expected or "", new text or "", id, {index to leave, member, ...}, {index, score, member, ...}}.
-- Out: false if the guard does not hold, else for each group true, or what is held for each change.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local guard = ask.guard

if guard[1] == 'term' and call('GET', guard[2]) ~= guard[3] then
  return cmsgpack.pack(false)
elseif guard[1] == 'open' and not call('ZSCORE', guard[2], guard[3]) then
  return cmsgpack.pack(false)
end

local sound = {}
local function check(index)
  if not sound[index] then
    local kind = call('TYPE', index).ok
    if kind ~= 'zset' and kind ~= 'none' then
      error('WRONGTYPE ' .. index .. ' holds a ' .. kind .. ' of somebody else')
    end
    sound[index] = true
  end
end

local answers, cells = {}, {}
for number, group in ipairs(ask.groups) do
  local holds = true
  for _, change in ipairs(group[1]) do
    if call('GETRANGE', change[1], 6, 21) ~= change[2] then holds = false end
  end
  if holds then
    answers[number] = true
    for _, change in ipairs(group[1]) do
      for place = 1, #change[5], 2 do check(change[5][place]) end
      for place = 1, #change[6], 3 do check(change[6][place]) end
    end
    local tally = group[2]
    if tally then
      local cell = cells[tally[1]]
      if not cell then
        local n, ms = string.match(call('GET', tally[1]) or '', '"count":(%d+),"total_ms":(%d+),')
        cell = {tonumber(n) or 0, tonumber(ms) or 0, tally}
        cells[tally[1]] = cell
      end
      cell[1], cell[2] = cell[1] + tally[2], cell[2] + tally[3]
    end
  else
    local held = {}
    for place, change in ipairs(group[1]) do held[place] = call('GET', change[1]) end
    answers[number] = held
  end
end

local function forget(id)
  for _, name in ipairs({'payload', 'result'}) do
    if call('DEL', ask.prefix .. 'task:' .. name .. ':' .. id) == 1 then
      call('ZREM', ask.prefix .. 'blob:list', id .. '/' .. name)
    end
  end
  local log = ask.prefix .. 'task:log:' .. id
  for _, line in ipairs(call('XRANGE', log, '-', '+')) do
    call('ZREM', ask.prefix .. 'log:all', string.match(line[1], '^%d+') .. ':' .. id)
  end
  call('DEL', log)
end

for number, group in ipairs(ask.groups) do
  if answers[number] == true then
    for _, change in ipairs(group[1]) do
      if change[3] ~= '' then call('SET', change[1], change[3]) else call('DEL', change[1]) end
      for place = 1, #change[5], 2 do call('ZREM', change[5][place], change[5][place + 1]) end
      for place = 1, #change[6], 3 do
        call('ZADD', change[6][place], change[6][place + 1], change[6][place + 2])
      end
      if change[3] == '' and change[4] ~= '' then forget(change[4]) end
    end
  end
end
for key, cell in pairs(cells) do
  local tally = cell[3]
  local head = string.format('{"_":"%016x","count":%.0f,"total_ms":%.0f', cell[1], cell[1], cell[2])
  call('SET', key, head .. tally[4])
  call('ZADD', ask.prefix .. 'tally:list', tally[5], tally[6])
end
if ask.hints then call('PUBLISH', ask.hints[1], ask.hints[2]) end
return cmsgpack.pack(answers)
