-- How many members these indexes have. In: indexes.
local ask, found = cmsgpack.unpack(ARGV[1]), {}
for number, index in ipairs(ask.indexes) do found[number] = redis.call('ZCARD', index) end
return cmsgpack.pack(found)
