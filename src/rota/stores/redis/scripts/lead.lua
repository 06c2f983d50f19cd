-- Take, keep or resign a term. Its number, which has no expiry, is the instant of its beginning by the server's clock,
-- so that it rises even if the newest terms were lost with their server.
-- In: keys of the number and of the holder, who asks, for how long, how long at most. Out: {number, holder or ""}.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local number = call('GET', ask.number) or '0'
local holder = call('GET', ask.leader) or ''
if holder ~= '' then
  local left = call('PTTL', ask.leader)
  -- Further ahead is only a lease of a clock that was set back since: then nobody would lead until it has caught up.
  if left < 0 or left > math.max(ask.ttl, ask.furthest) then holder = '' end
end
if holder == ask.holder or (holder == '' and ask.ttl > 0) then
  if ask.ttl > 0 then
    if holder == '' then
      number = string.format('%.0f', math.max(tonumber(number) + 1, now))
      call('SET', ask.number, number)
    end
    holder = ask.holder
    call('SET', ask.leader, holder, 'PX', ask.ttl)
  else
    holder = ''
    call('DEL', ask.leader)
  end
end
return cmsgpack.pack({number, holder})
