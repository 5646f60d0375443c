-- Log lines of every level, and JSON both ways.
-- expect: {"back": [1, {"a": true}], "text": "{\"x\": 1}", "wrong": true}
Log.debug("small")
Log.info("said", { n = 1 })
Log.warn("careful")
Log.error("bad")
print("printed", 1, true)
local fine = pcall(Json.decode, "{")
return { back = Json.decode('[1, {"a": true}]'), text = Json.encode({ x = 1 }), wrong = not fine }
