-- A tool that the program calls itself; a refused argument is an error with its path.
-- expect: {"length": 4, "count": 1, "refused": true}
length = Tool { input = { text = field.string{required = true} }, function(given) return #given.text end }
local n = length({ text = "mill" })
local fine, why = pcall(length, { txt = "x" })
return { length = n, count = length.call_count() - 1, refused = not fine and why:find("txt", 1, true) ~= nil }
