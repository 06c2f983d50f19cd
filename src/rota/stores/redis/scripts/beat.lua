-- Raise the pulses of open sessions, show each in the pool for as long as it may be silent, and tell what it holds.
-- In: sessions {id, text of its pulse before the count}, prefix.
-- Out: for each false, or {its record, number held, sum of their tokens, cancelled ids}.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local P = ask.prefix
local POOL = '{"id":%s,"address":%s,"status":"%s","last_heartbeat":%.0f,"capacity":%.0f,"running_tasks":%.0f}'
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
    local text = call('GET', P .. 'worker:detail:' .. session) or ''
    if text ~= '' then
      local said, status = cjson.decode(text), #held > 0 and 'busy' or 'idle'
      local shown = string.format(POOL, cjson.encode(session), cjson.encode(said.address ~= '' and said.address or said.host),
        status, now, said.slots, #held / 2)
      call('SET', P .. 'worker:pool:' .. session, shown, 'PX', string.format('%.0f', said.ttl_ms))
    end
    answers[number] = {text, #held / 2, sum, cancels}
  end
end
return cmsgpack.pack(answers)
