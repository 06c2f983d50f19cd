-- Raise the pulses of open sessions, and tell of each what it holds.
-- In: sessions {id, text of its pulse before the count}, prefix.
-- Out: for each false, or {its record, number held, sum of their tokens, cancelled ids}.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local P = ask.prefix
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local answers = {}
for number, one in ipairs(ask.sessions) do
  local session = one[1]
  answers[number] = false
  if call('ZSCORE', P .. 'worker:open', session) then
    local key = P .. 'pulse:detail:' .. session
    local last = string.match(call('GET', key) or '', '"count":(%d+)}$')
    local count = math.max(now, (tonumber(last) or 0) + 1)
    call('SET', key, string.format('{"_":"%016x",%s%.0f}', count, one[2], count))
    local held, sum = call('ZRANGE', P .. 'task:queue:' .. session, 0, -1, 'WITHSCORES'), 0
    for place = 2, #held, 2 do sum = sum + held[place] end
    local cancels = call('ZRANGE', P .. 'task:cancel:' .. session, 0, -1)
    answers[number] = {call('GET', P .. 'worker:pool:' .. session) or '', #held / 2, sum, cancels}
  end
end
return cmsgpack.pack(answers)
