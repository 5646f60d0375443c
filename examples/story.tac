-- A story, and a title for it in a fixed form. Try: headrace procedure run examples/story.tac --param topic=rivers

input { topic = field.string{default = "rivers", description = "What the story is about."} }
output { story = field.string{required = true}, length = field.integer{required = true} }

storyteller = Agent {
    system_prompt = "You are a creative storyteller. Tell short stories about {input.topic}.",
}

local story = storyteller({message = "Tell me a short story."}).text
Log.info("the story is told", {characters = #story})
return { story = story, length = #story }
