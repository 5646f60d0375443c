-- Trying again, with a pause between.
-- expect: {"tries": 3, "value": "third"}
local tries = 0
local value = Retry(function()
  tries = tries + 1
  if tries < 3 then error("not yet") end
  Sleep(0.01)
  return "third"
end, { attempts = 3, delay = 0.01, backoff = 1 })
return { tries = tries, value = value }
