-- The texts of these keys, false where there is none. In: keys.
local ask, found = cmsgpack.unpack(ARGV[1]), {}
for number, key in ipairs(ask.keys) do found[number] = redis.call('GET', key) end
return cmsgpack.pack(found)
