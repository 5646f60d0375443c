-- What a program sees, made in the child before it runs. Everything that acts is a question to the host (`call`).
--
-- Rules: the four functions from Python stay in locals and are only called under pcall, so that no Python object, also
-- no exception, ever reaches the program; library functions that are used here are locals too, so that a program that
-- changes its own `string` or `table` changes nothing here. Positions come from the program's own stack frames.

local host_ask, host_encode, host_decode, order = ...

local assert, error, getmetatable, ipairs, next, pairs, pcall, rawget, rawset, select, setmetatable, tostring, tonumber,
  type, load, xpcall, print = assert, error, getmetatable, ipairs, next, pairs, pcall, rawget, rawset, select,
  setmetatable, tostring, tonumber, type, load, xpcall, nil
local sfind, sgsub, smatch, sgmatch, srep, sformat = string.find, string.gsub, string.match, string.gmatch, string.rep,
  string.format
local sort, concat, unpack, clock = table.sort, table.concat, table.unpack, os.clock
local getinfo, sethook, create, running = debug.getinfo, debug.sethook, coroutine.create, coroutine.running
local resume, yield, isyieldable = coroutine.resume, coroutine.yield, coroutine.isyieldable

local program_name = order.name
local program_chunk = "@" .. program_name
local source_lines = {}
for line in sgmatch(order.program .. "\n", "(.-)\n") do source_lines[#source_lines + 1] = line end

-- positions

local last_line = 0
local inside = 0 -- functions of the program that run for the host or an entry

-- `return w(…)` is a tail call and leaves no frame. In the main chunk it is the last `return`; in a function that was
-- called from here the first that calls something after the last line that is known has to do.
local function tail_line()
  if inside == 0 then
    for line = #source_lines, 1, -1 do
      if sfind(source_lines[line], "^%s*return[%s(]") then return line end
    end
  end
  for line = last_line, #source_lines do
    if line > 0 and sfind(source_lines[line], "return%s+[%a_][%w_%.:]*%s*[%({\"'%[]") then return line end
  end
  return last_line
end

local function current_line()
  local level = 2
  while true do
    local info = getinfo(level, "Sl")
    if not info then return tail_line() end
    if info.source == program_chunk and info.currentline > 0 then
      last_line = info.currentline
      return last_line
    end
    level = level + 1
  end
end

local function position(line)
  if line == 0 then return program_name .. ": " end
  return program_name .. ":" .. tostring(line) .. ": "
end

local function fail(message)
  error(position(current_line()) .. message, 0)
end

-- What is wrong with a declaration: a check is told and goes on, a run stops.
local complain

-- time: a line for an endless loop (what catches this error anyway is killed from outside a second later)

local function watch(thread)
  local function tick()
    if clock() > order.limits.cpu_s then
      error(position(current_line()) .. "the program used more than " .. tostring(order.limits.cpu_s) .. " s of CPU", 0)
    end
  end
  if thread then sethook(thread, tick, "", 100000) else sethook(tick, "", 100000) end
end

-- the host

local functions = {}   -- what the host may have run: tools by id

local function asked(kind, with, line)
  local ok, what, a = pcall(host_ask, kind, with, line)
  if not ok then return "error", "a value could not be sent" end
  return what, a
end

local function call(kind, with)
  local line = current_line()
  local what, value = asked(kind, with, line)
  while what == "run" do
    local ran, result = pcall(functions[value.id], value.with)
    if ran then
      what, value = asked("returned", {value = result}, line)
      if what == "error" then what, value = asked("returned", {error = value}, line) end
    else
      what, value = asked("returned", {error = tostring(result)}, line)
    end
  end
  if what == "error" then error(position(line) .. value, 0) end
  return value
end

function complain(message)
  if order.check then call("problem", {message = message}) else fail(message) end
end

-- values

local agents, tools, procedures, fields = setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "k"}),
  setmetatable({}, {__mode = "k"}), setmetatable({}, {__mode = "k"})
local LOCKED = "locked"

local function copy(value, depth)
  if type(value) ~= "table" or (depth or 0) > 60 or tools[value] or agents[value] then return value end
  local out = {}
  for key, item in next, value do out[key] = copy(item, (depth or 0) + 1) end
  return out
end

local function name_here(kind)
  local text = source_lines[current_line()] or ""
  local name = smatch(text, "^%s*local%s+([%a_][%w_]*)%s*=%s*" .. kind .. "[^%w_]")
    or smatch(text, "^%s*([%a_][%w_]*)%s*=%s*" .. kind .. "[^%w_]")
  return name, smatch(text, "^%s*local%s") ~= nil
end

-- constructors that take `X {…}`, `X "name" {…}` and `X("name", {…})`

local env
local function constructor(kind, make)
  local function construct(first, second)
    if type(first) == "string" then
      if second == nil then return function(config) return construct(first, config) end end
      if type(second) ~= "table" then fail(kind .. " " .. first .. " needs a table") end
      local made = make(first, second, false)
      if rawget(env, first) == nil then rawset(env, first, made) end
      return made
    end
    if type(first) ~= "table" then fail(kind .. " needs a table: " .. kind .. " {…}") end
    local name, is_local = name_here(kind)
    return make(name, first, is_local)
  end
  return construct
end

-- templates in prompts: {input.x}, {state.x}, {params.x}

local state, inputs = {}, {}

local function render(text, what)
  if type(text) ~= "string" then return text end
  return (sgsub(text, "{(%a+)%.([%w_%.]+)}", function(root, path)
    local value
    if root == "input" or root == "params" then value = inputs
    elseif root == "state" then value = rawget(env, "state") or state
    else return nil end
    for part in sgmatch(path, "[^%.]+") do
      if type(value) ~= "table" then value = nil break end
      local found = rawget(value, part)
      if found == nil and tonumber(part) then found = rawget(value, tonumber(part)) end
      value = found
    end
    if value == nil then fail(what .. " names {" .. root .. "." .. path .. "}, which is not there") end
    if type(value) == "table" then
      local ok, fine, json = pcall(host_encode, {value})
      if not ok or not fine then fail("{" .. root .. "." .. path .. "} in " .. what .. " has no JSON") end
      return json
    end
    return tostring(value)
  end))
end

-- tools

local tool_count, agent_count = 0, 0

local function counted(tool, arguments, run)
  local info = tools[tool]
  info.count = info.count + 1
  info.last = {arguments = arguments, args = arguments}
  local result = run(arguments)
  info.result = result
  info.last.result = result
  return result
end

local tool_methods = {
  called = function(info) return info.count > 0 end,
  call_count = function(info) return info.count end,
  last_call = function(info) return info.last end,
  last_result = function(info) return info.result end,
}
local tool_meta = {
  __metatable = LOCKED,
  __index = function(tool, key)
    local method = tool_methods[key]
    if method then return function() return method(tools[tool]) end end
    if key == "name" then return tools[tool].name end
  end,
  __newindex = function() fail("a tool cannot be changed") end,
  __call = function(tool, arguments)
    local info = tools[tool]
    return counted(tool, arguments or {}, function(given)
      local opened = call("open", {kind = "tool", name = info.name, tool = info.id, value = given})
      local ok, result = pcall(info.run, opened.value)
      if not ok then
        call("close", {token = opened.token, error = tostring(result)})
        error(result, 0)
      end
      call("close", {token = opened.token, value = result})
      return result
    end)
  end,
}

local function make_tool(name, config)
  local run = config["function"] or config.handler or config[1]
  if type(run) ~= "function" then
    complain("Tool " .. (name or "") .. " has no function")
    run = function() end
  end
  tool_count = tool_count + 1
  local id = "tool-" .. tostring(tool_count)
  local tool = setmetatable({}, tool_meta)
  name = config.name or name or sgsub(id, "-", "_")
  tools[tool] = {id = id, name = name, run = run, count = 0}
  functions[id] = function(given) return counted(tool, given or {}, run) end
  local described = copy(config)
  described["function"], described.handler, described[1], described.name = nil, nil, nil, nil
  call("tool", {id = id, name = name, config = described})
  return tool
end

-- A tool of the host's: a function's, or an MCP server's.
local function host_tool(name)
  tool_count = tool_count + 1
  local id = "tool-" .. tostring(tool_count)
  local tool = setmetatable({}, tool_meta)
  local function run(given) return call("external", {name = name, arguments = given}).value end
  tools[tool] = {id = id, name = name, run = run, count = 0}
  functions[id] = function(given) return counted(tool, given or {}, run) end
  call("require", {id = id, name = name})
  return tool
end

-- agents

local result_names = {output = true, response = true, value = true, data = true, text = true, message = true}
local result_meta = {
  __metatable = LOCKED,
  __index = function(result, key)
    if result_names[key] then return rawget(result, "output") end
    if key == "new_messages" then return function() return copy(rawget(result, "messages")) end end
  end,
  __tostring = function(result)
    local output = rawget(result, "output")
    return type(output) == "string" and output or "answer"
  end,
}

local function tool_list(list)
  local out = {}
  for _, tool in ipairs(list) do
    if tools[tool] then out[#out + 1] = {id = tools[tool].id}
    elseif type(tool) == "string" then out[#out + 1] = {name = tool}
    else complain("tools holds something that is no tool") end
  end
  return out
end

local agent_meta = {
  __metatable = LOCKED,
  __index = function(agent, key) if key == "name" then return agents[agent].name end end,
  __newindex = function() fail("an agent cannot be changed") end,
  __call = function(agent, given)
    local info = agents[agent]
    if order.check then -- its prompts may need what is not there
      return setmetatable(call("turn", {agent = info.id}), result_meta)
    end
    local with = {}
    if type(given) == "table" then
      for key, value in next, given do with[key] = value end
    elseif given ~= nil then
      with.message = tostring(given)
    end
    if with.tools then with.tools = tool_list(with.tools) end
    with.agent, with.name = info.id, info.name
    with.system = render(info.config.system_prompt, "the system_prompt of " .. info.name)
    with.initial = render(info.config.initial_message, "the initial_message of " .. info.name)
    with.base_context = render(info.config.context, "the context of " .. info.name)
    return setmetatable(call("turn", with), result_meta)
  end,
}

local function make_agent(name, config)
  agent_count = agent_count + 1
  local id = "agent-" .. tostring(agent_count)
  local agent = setmetatable({}, agent_meta)
  config = copy(config) -- what the program does to its table later changes nothing
  agents[agent] = {
    id = id, name = config.name or name or id, config = config, unnamed = not (config.name or name),
  }
  local described = {}
  for key, value in next, config do described[key] = value end
  if described.tools then described.tools = tool_list(described.tools) end
  call("agent", {id = id, name = agents[agent].name, config = described})
  return agent
end

-- procedures

local unnamed, main = {}, nil

local function run_procedure(info, given)
  local opened = call("open", {
    kind = "procedure", name = info.name, value = given or {}, schema = info.input, where = "input", checks = true,
  })
  local before = inputs
  inputs, inside = opened.value, inside + 1
  local ok, result = pcall(info.run, opened.value)
  inputs, inside = before, inside - 1
  if not ok then
    call("close", {token = opened.token, error = tostring(result)})
    error(result, 0)
  end
  return call("close", {token = opened.token, value = result, schema = info.output, where = "output"}).value
end

local procedure_meta = {
  __metatable = LOCKED,
  __index = function(procedure, key) if key == "name" then return procedures[procedure].name end end,
  __newindex = function() fail("a procedure cannot be changed") end,
  __call = function(procedure, given) return run_procedure(procedures[procedure], given) end,
}

local function make_procedure(name, config)
  local run = config["function"] or config[1]
  if type(run) ~= "function" then
    complain("Procedure has no function: Procedure {input = …, function(input) … end}")
    run = function() end
  end
  local procedure = setmetatable({}, procedure_meta)
  local info = {name = name or "procedure", run = run, input = config.input, output = config.output}
  for key in next, config do
    if key ~= 1 and key ~= "function" and key ~= "input" and key ~= "output" and key ~= "description" then
      complain("Procedure has no setting " .. tostring(key))
    end
  end
  call("procedure", {name = info.name, input = info.input, output = info.output})
  procedures[procedure] = info
  if name == nil then unnamed[#unnamed + 1] = info elseif name == "main" then main = info end
  return procedure
end

-- script mode: `input {…}` declares and then holds the values

local script_input, script_output, declared_output
local input_value = setmetatable({}, {
  __metatable = LOCKED,
  __call = function(self, schema)
    if script_input then complain("input {…} is there twice") end
    script_input = schema
    inputs = call("input", {schema = schema}) or {}
    return self
  end,
  __index = function(_, key) return inputs[key] end,
  __pairs = function() return next, inputs, nil end,
  __newindex = function() fail("inputs cannot be changed") end,
})
local function output_block(schema)
  if declared_output then complain("output {…} is there twice") end
  script_output, declared_output = schema, true
  call("output", {schema = schema})
end

-- fields

local field = {}
for _, kind in ipairs({"string", "number", "integer", "boolean", "array", "object"}) do
  field[kind] = function(options)
    if options ~= nil and type(options) ~= "table" then fail("field." .. kind .. " needs a table") end
    local made = copy(options or {})
    made["$field"] = kind
    return made
  end
end
setmetatable(field, {
  __metatable = LOCKED,
  __index = function(_, key)
    complain("there is no field." .. tostring(key) .. "; there are string, number, integer, boolean, array, object")
    return field.string
  end,
})

-- people, steps, logs, files

local function options_of(first, second, key)
  local out = type(first) == "table" and copy(first) or copy(second or {})
  if type(first) == "string" then out[key] = first end
  return out
end

local Human = {}
for _, kind in ipairs({"approve", "input", "select", "review", "notify"}) do
  Human[kind] = function(first, second)
    local with = options_of(first, second, "message")
    with.kind = kind
    return call("human", with).value
  end
end

local Step = {}
function Step.checkpoint(first, second)
  local name, run = first, second
  if type(first) == "function" then name, run = second, first end
  if type(run) ~= "function" then fail("Step.checkpoint needs a function") end
  local opened = call("checkpoint", {name = name})
  if opened.done then return opened.value end
  local result = run()
  return call("checkpoint_end", {token = opened.token, value = result}).value
end

local Log = {}
for _, level in ipairs({"debug", "info", "warn", "error"}) do
  Log[level] = function(message, data)
    call("log", {level = level, message = tostring(message), data = data})
  end
end
Log.warning = Log.warn

local Json = {}
function Json.encode(value)
  local ok, fine, text = pcall(host_encode, {value})
  if not ok or not fine then fail("Json.encode: " .. (ok and text or "a string is not UTF-8")) end
  return text
end
function Json.decode(text)
  if type(text) ~= "string" then fail("Json.decode needs a string") end
  local ok, fine, value = pcall(host_decode, {text})
  if not ok or not fine then fail("Json.decode: " .. (ok and tostring(value) or "the string is not UTF-8")) end
  return value
end

local File = {}
for _, op in ipairs({"read", "write", "append", "exists", "list"}) do
  File[op] = function(path, content)
    return call("file", {op = op, path = path, content = content}).value
  end
end

local function Sleep(seconds)
  call("sleep", {seconds = seconds})
end

local function retry(run, options)
  if type(run) ~= "function" then run, options = options, run end
  options = options or {}
  local attempts, delay, backoff = options.attempts or options.max_attempts or 3, options.delay or 1, options.backoff or 2
  for attempt = 1, attempts do
    local results = {pcall(run, attempt)}
    if results[1] then return unpack(results, 2) end
    if attempt == attempts then error(results[2], 0) end
    if delay > 0 then Sleep(delay) end
    delay = delay * backoff
  end
end
local Retry = setmetatable({with_backoff = retry}, {
  __metatable = LOCKED,
  __call = function(_, run, options) return retry(run, options) end,
})

local modules = {}
local function require(name)
  if modules[name] then return modules[name] end
  if name == "headrace.tools.done" then
    modules[name] = make_tool("done", {
      description = "Say that the task is done, and why.",
      input = {reason = field.string{description = "What was achieved."}},
      ["function"] = function(given) return given.reason or "done" end,
    })
    return modules[name]
  end
  local tool = type(name) == "string" and smatch(name, "^headrace%.tools%.([%w_%-]+)$")
  if not tool then fail("there is no module " .. tostring(name) .. "; there are headrace.tools.NAME, with done") end
  modules[name] = host_tool(tool)
  return modules[name]
end

local function Specification(text)
  call("specification", {text = text})
end
local function Mocks(mocks)
  call("mocks", {mocks = copy(mocks)})
end

-- the library, without what reaches out

local function pairs_in_order(value)
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__pairs then return meta.__pairs(value) end
  if type(value) ~= "table" then fail("pairs needs a table") end
  -- In order of the keys, so that a replay goes the same way as the first time.
  local keys, n = {}, 0
  for key in next, value do
    n = n + 1
    keys[n] = key
  end
  local rank = {number = 1, string = 2, boolean = 3}
  sort(keys, function(a, b)
    local ra, rb = rank[type(a)] or 4, rank[type(b)] or 4
    if ra ~= rb then return ra < rb end
    if ra <= 2 then return a < b end
    if ra == 3 then return a and not b end
    return false
  end)
  local at = 0
  return function()
    while at < n do
      at = at + 1
      local item = rawget(value, keys[at])
      if item ~= nil then return keys[at], item end
    end
  end, value, nil
end

local function only(library, names)
  local out = {}
  for name in sgmatch(names, "%S+") do out[name] = library[name] end
  return out
end

local strings = only(string, "byte char find format gmatch gsub len lower match rep reverse sub upper pack packsize unpack")
getmetatable("").__index = strings
getmetatable("").__metatable = LOCKED
local coroutines = only(coroutine, "isyieldable running status yield close resume")
function coroutines.create(run)
  local thread = create(run)
  watch(thread)
  return thread
end
function coroutines.wrap(run)
  local thread = coroutines.create(run)
  local function step(ok, ...)
    if ok then return ... end
    error((...), 0)
  end
  return function(...) return step(resume(thread, ...)) end
end
local maths = only(math, "abs acos asin atan ceil cos deg exp floor fmod huge log max maxinteger min mininteger modf pi rad "
  .. "random sin sqrt tan tointeger type ult")
math.randomseed(order.seed)

local globals = {
  assert = assert, error = error, getmetatable = getmetatable, ipairs = ipairs, next = next, pairs = pairs_in_order,
  pcall = pcall, rawequal = rawequal, rawget = rawget, rawlen = rawlen, rawset = rawset, select = select,
  setmetatable = setmetatable, tonumber = tonumber, tostring = tostring, type = type, xpcall = xpcall,
  _VERSION = _VERSION, string = strings, coroutine = coroutines, math = maths,
  table = only(table, "concat insert move pack remove sort unpack"), utf8 = only(utf8, "char charpattern codepoint codes len offset"),
  require = require, field = field, state = state, input = input_value, params = input_value, output = output_block,
  Agent = constructor("Agent", make_agent), agent = constructor("agent", make_agent),
  Tool = constructor("Tool", make_tool), tool = constructor("tool", make_tool),
  Procedure = constructor("Procedure", make_procedure), procedure = constructor("procedure", make_procedure),
  Human = Human, Step = Step, Log = Log, Json = Json, File = File, Sleep = Sleep, Retry = Retry,
  Specification = Specification, Mocks = Mocks,
}
function globals.print(...)
  local parts = {}
  for i = 1, select("#", ...) do parts[i] = tostring((select(i, ...))) end
  Log.info(concat(parts, "\t"))
end
env = setmetatable({}, {
  __metatable = LOCKED,
  __index = function(_, key)
    local value = globals[key]
    if value == nil then fail("there is no " .. tostring(key) .. " (a variable that was never set)") end
    return value
  end,
  __newindex = function(_, key, value)
    local info = agents[value]
    if info and info.unnamed then info.name, info.unnamed = key, nil end
    rawset(env, key, value)
  end,
})
rawset(env, "_G", env)

-- the program

local function explain(problem)
  if type(problem) == "string" then return problem end
  if type(problem) == "table" then
    local meta = getmetatable(problem)
    if type(meta) == "table" and meta.__tostring then
      local ok, text = pcall(tostring, problem)
      if ok and type(text) == "string" then return text end
    end
    local message = rawget(problem, "message")
    if type(message) == "string" then return position(current_line()) .. message end
  end
  return position(current_line()) .. "error with a " .. type(problem) .. " that is no message"
end

local function run()
  local chunk, problem = load(order.program, program_chunk, "t", env)
  if not chunk then error(problem, 0) end
  watch()
  local result = chunk()
  local entry = main or unnamed[1]
  if #unnamed > 1 then error(program_name .. ": there is more than one Procedure without a name; only one is the entry", 0) end
  if order.check and not entry then return nil end
  if entry then
    entry.name = "main"
    inputs = order.inputs or {}
    return run_procedure(entry, inputs)
  end
  if not script_input then call("input", {schema = {}}) end
  return call("result", {value = result, schema = script_output}).value
end

local ok, result = xpcall(run, explain)
sethook()
if ok then
  asked("done", {value = result}, 0)
else
  local message = type(result) == "string" and result or "the program failed"
  local what = asked("failed", {message = message}, 0)
  if what == "error" then asked("failed", {message = "the program failed with a message that is not UTF-8"}, 0) end
end
