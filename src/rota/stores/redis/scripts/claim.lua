-- Give sessions ready runs in rank order, by writing a new head before what of a run a claim leaves as it is.
-- In: wants {session, limit, {lane, queue, ...}, {task excluded, ...}, {run, ...}, head before due_at, head behind it},
-- version, now, grace, prefix. Out: for each want whether the session is open, then the texts of its runs.
-- The head is ours: {"_":version,"lane":,"attempt":,"timeout_ms":,"end_by":, then what a claim sets, then "id".
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local P = ask.prefix
local HEAD = '^{"_":"%x+","lane":"([^"]*)","attempt":(%d+),"timeout_ms":(%w+),"end_by":(%w+),'

local function is_paused(queue)
  return call('ZSCORE', P .. 'queue:paused', queue)
end

local function stable(text)
  return string.sub(text, string.find(text, ',"id":', 1, true), -1)
end

local function is_excluded(text, tasks)
  if #tasks == 0 then return false end
  local rest = stable(text)
  local at = string.find(rest, ',"namespace":', 1, true)
  for _, task in ipairs(tasks) do
    if string.sub(rest, at, at + #task - 1) == task then return true end
  end
  return false
end

local STEP = 200

-- Add the first ready runs of a lane to what is found: {rank, id, lane, text or nil}.
local function look(lane, want, found)
  local ready, start, got = P .. 'task:ready:' .. lane, 0, 0
  local step = #want[4] == 0 and want[2] or STEP
  while got < want[2] do
    local some = call('ZRANGE', ready, start, start + step - 1, 'WITHSCORES')
    for place = 1, #some, 2 do
      local text = #want[4] > 0 and call('GET', P .. 'task:detail:' .. some[place])
      if got < want[2] and not (text and is_excluded(text, want[4])) then
        found[#found + 1] = {tonumber(some[place + 1]), some[place], lane}
        got = got + 1
      end
    end
    if #some < 2 * step then return end
    start = start + step
  end
end

local function named(want, found)
  local seen = {}
  for _, id in ipairs(want[5]) do
    local text = not seen[id] and call('GET', P .. 'task:detail:' .. id)
    local lane = text and string.match(text, HEAD)
    local rank = lane and call('ZSCORE', P .. 'task:ready:' .. lane, id)
    if rank and not is_paused(string.match(lane, '^[^/]*/[^/]*')) and not is_excluded(text, want[4]) then
      found[#found + 1] = {tonumber(rank), id, lane}
    end
    seen[id] = true
  end
end

-- By index: members that leave; scores and members that come.
local gone, new, texts

local function gather(indexes, index, one, other)
  local list = indexes[index] or {}
  indexes[index], list[#list + 1] = list, one
  list[#list + 1] = other
end

local function take(text, one, want)
  local id, lane = one[2], one[3]
  local rest = stable(text)
  local _, attempt, timeout, by = string.match(text, HEAD)
  local due = nil
  if timeout ~= 'null' then due = ask.now + tonumber(timeout) end
  if by ~= 'null' then due = math.min(due or tonumber(by), tonumber(by)) end
  if due then
    due = string.format('%.0f', due + ask.grace)
    gather(new, P .. 'task:due', due, id)
  elseif not string.find(string.sub(text, 1, -#rest - 1), '"due_at":null', 1, true) then
    gather(gone, P .. 'task:due', id)
  end
  text = table.concat({'{"_":"', ask.version, '","lane":"', lane, '","attempt":', string.format('%.0f', attempt + 1),
    ',"timeout_ms":', timeout, ',"end_by":', by, want[6], due or 'null', want[7], rest})
  texts[#texts + 1] = P .. 'task:detail:' .. id
  texts[#texts + 1] = text
  local list = P .. 'task:list:' .. string.match(lane, '^[^/]*') .. '/'
  gather(gone, P .. 'task:ready:' .. lane, id)
  gather(gone, list .. 'pending', id)
  gather(new, list .. 'running', string.match(rest, '"created_at":(%d+)'), id)
  gather(new, P .. 'task:queue:' .. want[1], want[8], id)
  return text
end

-- The texts of the first of what is found.
local function texts_of(found, limit)
  local got = {}
  for from = 1, math.min(#found, limit), 1000 do
    local keys = {}
    for place = from, math.min(from + 999, #found, limit) do keys[#keys + 1] = P .. 'task:detail:' .. found[place][2] end
    for _, text in ipairs(call('MGET', unpack(keys))) do got[#got + 1] = text end
  end
  return got
end

local function write(command, key, values)
  for from = 1, #values, 1000 do
    local to = math.min(from + 999, #values)
    if key then call(command, key, unpack(values, from, to)) else call(command, unpack(values, from, to)) end
  end
end

local answers = {}
for number, want in ipairs(ask.wants) do
  local answer, found = {false}, {}
  if call('ZSCORE', P .. 'worker:open', want[1]) then
    answer[1] = true
    if want[2] > 0 then
      if #want[5] > 0 then
        named(want, found)
      else
        for place = 1, #want[3], 2 do
          if not is_paused(want[3][place + 1]) then look(want[3][place], want, found) end
        end
      end
    end
    table.sort(found, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
    gone, new, texts = {}, {}, {}
    for place, text in ipairs(texts_of(found, want[2])) do
      if text then answer[#answer + 1] = take(text, found[place], want) end
    end
    write('MSET', nil, texts)
    for index, members in pairs(gone) do write('ZREM', index, members) end
    for index, entries in pairs(new) do write('ZADD', index, entries) end
  end
  answers[number] = answer
end
return cmsgpack.pack(answers)
