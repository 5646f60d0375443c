-- The language itself: coroutines, closures, metatables, patterns, ordered pairs.
-- expect: {"sum": 6, "words": ["a", "b"], "keys": ["x", "y", "z"], "add": 5, "rep": "ababab"}
local walk = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
local sum = walk() + walk() + walk()
local words, keys = {}, {}
for word in ("a b"):gmatch("%a") do words[#words + 1] = word end
for key in pairs({ z = 1, x = 2, y = 3 }) do keys[#keys + 1] = key end
local point = setmetatable({ n = 2 }, { __add = function(a, b) return a.n + b end })
return { sum = sum, words = words, keys = keys, add = point + 3, rep = ("ab"):rep(3) }
