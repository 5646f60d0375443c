-- An agent with a tool, and a person who has the last word.

local word_count = Tool {
    description = "Counts the words of a text.",
    input = { text = field.string{required = true} },
    function(given)
        local count = 0
        for _ in given.text:gmatch("%S+") do count = count + 1 end
        return { words = count }
    end,
}
local done = require("headrace.tools.done")

writer = Agent {
    system_prompt = "Write one sentence, count its words with the tool, then say that you are done.",
    tools = { word_count, done },
    max_turns = 5,
}

Procedure {
    output = { text = field.string{required = true}, approved = field.boolean{required = true} },
    function(input)
        local draft = writer("About the sea.").text
        return { text = draft, approved = Human.approve { message = "Publish it?", timeout = 3600, default = false } }
    end,
}
