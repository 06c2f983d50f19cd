-- Compare and set groups of changes, each for itself. Everything is looked at before anything is written, and what goes
-- into one index is written by one command.
-- In: guard {key, number} or {}, keys of all changes, groups {changes, tally}, hints {channel, text} or false.
-- A change: {version expected or "", new text or "", id of a run that goes or "", {index to leave, member, ...},
-- {index, score, member, ...}, key to write beside it or "", its text}. A tally: {key, number, ms, text behind them, minute, id}.
-- Out: false if the guard does not hold, else for each group true, or what is held for each change.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local P, STEP, guard = ask.prefix, 1000, ask.guard

if guard[1] and call('GET', guard[1]) ~= guard[2] then
  return cmsgpack.pack(false)
end

local held = {}
for from = 1, #ask.keys, STEP do
  for _, text in ipairs(call('MGET', unpack(ask.keys, from, math.min(from + STEP - 1, #ask.keys)))) do
    held[#held + 1] = text
  end
end

-- By index: members that leave; scores and members that come.
local gone, new, texts, deleted, forgotten, lanes, cells = {}, {}, {}, {}, {}, {}, {}

local function gather(change, key)
  for place = 1, #change[4], 2 do
    local index = change[4][place]
    local list = gone[index] or {}
    gone[index], list[#list + 1] = list, change[4][place + 1]
  end
  for place = 1, #change[5], 3 do
    local index, member = change[5][place], change[5][place + 2]
    local known = index == 'task:lanes' and lanes[member]
    if not known then
      local list = new[index] or {}
      new[index], list[#list + 1] = list, change[5][place + 1]
      list[#list + 1] = member
      if index == 'task:lanes' then lanes[member] = true end
    end
  end
  if change[2] ~= '' then
    texts[#texts + 1] = key
    texts[#texts + 1] = change[2]
    if change[6] ~= '' then
      texts[#texts + 1] = change[6]
      texts[#texts + 1] = change[7]
    end
  else
    deleted[#deleted + 1] = key
    if change[3] ~= '' then forgotten[#forgotten + 1] = change[3] end
  end
end

local function add(tally)
  local cell = cells[tally[1]]
  if not cell then
    local n, ms = string.match(call('GET', tally[1]) or '', '"count":(%d+),"total_ms":(%d+),')
    cell = {tonumber(n) or 0, tonumber(ms) or 0, tally}
    cells[tally[1]] = cell
  end
  cell[1], cell[2] = cell[1] + tally[2], cell[2] + tally[3]
end

local answers, at = {}, 0
for number, group in ipairs(ask.groups) do
  local holds, current = true, {}
  for place, change in ipairs(group[1]) do
    current[place] = held[at + place]
    if string.sub(current[place] or '', 7, 22) ~= change[1] then holds = false end
  end
  answers[number] = holds or current
  if holds then
    for place, change in ipairs(group[1]) do gather(change, ask.keys[at + place]) end
    if group[2] then add(group[2]) end
  end
  at = at + #group[1]
end

for _, indexes in ipairs({gone, new}) do
  for index in pairs(indexes) do
    local kind = call('TYPE', P .. index).ok
    if kind ~= 'zset' and kind ~= 'none' then
      error('WRONGTYPE ' .. P .. index .. ' holds a ' .. kind .. ' of somebody else')
    end
  end
end

local function write(command, key, values)
  for from = 1, #values, STEP do
    local to = math.min(from + STEP - 1, #values)
    if key then call(command, key, unpack(values, from, to)) else call(command, unpack(values, from, to)) end
  end
end

-- Ahead of all writes, none of which is undone where this is refused. Nobody hears of it before they are done.
if ask.hints then call('PUBLISH', ask.hints[1], ask.hints[2]) end

-- What is over goes first: so a full server can be emptied.
write('DEL', nil, deleted)
write('MSET', nil, texts)
for index, members in pairs(gone) do write('ZREM', P .. index, members) end
for index, entries in pairs(new) do write('ZADD', P .. index, entries) end
for key, cell in pairs(cells) do
  local tally = cell[3]
  local head = string.format('{"_":"%016x","count":%.0f,"total_ms":%.0f', cell[1], cell[1], cell[2])
  call('SET', key, head .. tally[4])
  call('ZADD', P .. 'tally:list', tally[5], tally[6])
end
for _, id in ipairs(forgotten) do
  for _, name in ipairs({'payload', 'result'}) do
    if call('DEL', P .. 'task:' .. name .. ':' .. id) == 1 then call('ZREM', P .. 'blob:list', id .. '/' .. name) end
  end
  local log = P .. 'task:log:' .. id
  local lines = {}
  for _, line in ipairs(call('XRANGE', log, '-', '+')) do
    lines[#lines + 1] = string.match(line[1], '^%d+') .. ':' .. id
  end
  write('ZREM', P .. 'log:all', lines)
  call('DEL', log)
end
for place = 1, #(gone['worker:open'] or {}) do call('DEL', P .. 'worker:pool:' .. gone['worker:open'][place]) end
return cmsgpack.pack(answers)
