-- What of an index has come, earliest first. In: index, now, limit, start of the records' keys.
-- Out: the texts, and the first instant that has not come, or false.
local ask, call = cmsgpack.unpack(ARGV[1]), redis.call
local texts = {}
for _, id in ipairs(call('ZRANGEBYSCORE', ask.index, '-inf', ask.now, 'LIMIT', 0, ask.limit)) do
  texts[#texts + 1] = call('GET', ask.records .. id) or nil
end
local later = call('ZRANGEBYSCORE', ask.index, '(' .. ask.now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return cmsgpack.pack({texts, later[2] or false})
