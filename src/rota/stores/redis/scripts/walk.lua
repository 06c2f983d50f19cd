-- Members of several indexes, at one instant, in the order of score and member, from a cursor on.
-- In: indexes, low and high (scores, or "" for none), start (of members, or ""), after {score, member} or {},
-- limit, oldest. Out: for each index {member, score, ...}, oldest first.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call

-- As Redis orders them, whatever the server's locale.
local function is_before(a, b)
  for place = 1, math.min(#a, #b) do
    local one, other = string.byte(a, place), string.byte(b, place)
    if one ~= other then return one < other end
  end
  return #a < #b
end

-- The rank of the first member behind (or, unless behind, not ahead of) the cursor, between two ranks.
local function rank_of(index, from, to, behind)
  local score, member = tonumber(ask.after[1]), ask.after[2]
  while from < to do
    local middle = math.floor((from + to) / 2)
    local there = call('ZRANGE', index, middle, middle, 'WITHSCORES')
    local at = tonumber(there[2])
    local ahead = at < score or (at == score and (is_before(there[1], member) or (behind and there[1] == member)))
    if ahead then from = middle + 1 else to = middle end
  end
  return from
end

local found = {}
for number, index in ipairs(ask.indexes) do
  local from, to = 0, nil
  if ask.start ~= '' then
    from = call('ZLEXCOUNT', index, '-', '(' .. ask.start)
    to = from + call('ZLEXCOUNT', index, '[' .. ask.start, '(' .. ask.start .. '\255')
  else
    if ask.low ~= '' then from = call('ZCOUNT', index, '-inf', '(' .. ask.low) end
    to = ask.high ~= '' and call('ZCOUNT', index, '-inf', '(' .. ask.high) or call('ZCARD', index)
  end
  if #ask.after > 0 then
    if ask.oldest then from = rank_of(index, from, to, true) else to = rank_of(index, from, to, false) end
  end
  if ask.oldest then to = math.min(to, from + ask.limit) else from = math.max(from, to - ask.limit) end
  found[number] = from < to and call('ZRANGE', index, from, to - 1, 'WITHSCORES') or {}
end
return cmsgpack.pack(found)
