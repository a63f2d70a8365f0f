-- SPDX-License-Identifier: GPL-2.0-or-later
-- Builds known structures and says what each holds: for memwho refs (tests/e2e/test_refs_lua.py).
-- `arg` (or ... of an embedding program) may have: generational, midcycle, garbage.
local options = {}
for _, word in ipairs(arg or {}) do options[word] = true end
for _, word in ipairs({ ... }) do options[word] = true end

local say = print
if options.quiet then say = function() end end

-- More than once: the table of strings becomes smaller by half each time.
local function full()
	for _ = 1, 12 do collectgarbage() end
end

-- What name costs, by Lua's own count.
local function measure(name, build)
	full()
	local before = collectgarbage("count")
	build()
	full()
	say(string.format("root %s %d", name, (collectgarbage("count") - before) * 1024))
end

local function object(value, name)
	local kind, address = tostring(value):match("^(%w+).*(0x%x+)")
	say(string.format("object %s %s %s", address, kind, name))
end

-- Globals that come later must not make _G grow while something is measured.
sessions, cache, tree, peek, workers, keys, ephemeral, left, right, boxes = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
weak = setmetatable({}, { __mode = "v" })

measure("_G.sessions", function()
	sessions = {}
	for i = 1, 20000 do
		sessions[i] = { id = i, data = string.rep("d", 100) .. i }
	end
end)

-- A dictionary: its keys are data.
measure("_G.cache", function()
	cache = {}
	for i = 1, 10000 do cache[string.rep("k", 50) .. i] = string.rep("v", 60) .. i end
end)

-- Recursion, and a ring.
measure("_G.tree", function()
	local function grow(depth)
		if depth == 0 then return string.rep("leaf", 20) .. tostring({}) end
		local node = { left = grow(depth - 1), right = grow(depth - 1) }
		node.self = node
		return node
	end
	tree = grow(12)
end)

-- An upvalue.
measure("_G.peek", function()
	local hidden = {}
	for i = 1, 10000 do hidden[i] = string.rep("h", 60) .. i end
	peek = function() return hidden[1] end
end)

-- Coroutines that wait, each with a buffer in a variable.
local function worker(n)
	local buf = string.rep("b", 100000) .. n
	coroutine.yield()
	return #buf
end
measure("_G.workers", function()
	workers = {}
	for i = 1, 20 do
		workers[i] = coroutine.create(worker)
		coroutine.resume(workers[i], i)
	end
end)

-- What tables with weak keys hold belongs to the keys.
ephemeral = setmetatable({}, { __mode = "k" })
measure("_G.keys", function()
	keys = {}
	for i = 1, 500 do
		keys[i] = {}
		ephemeral[keys[i]] = { string.rep("e", 10000) .. i, keys[i] }
	end
end)

-- A table with weak values holds nothing.
for i = 1, 1000 do weak[i] = sessions[i] end

measure("package.loaded.mymod", function()
	local m = { list = {} }
	for i = 1, 5000 do m.list[i] = string.rep("m", 100) .. i end
	package.loaded.mymod = m
end)

measure("registry[\"refs.held\"]", function()
	local t = {}
	for i = 1, 5000 do t[i] = string.rep("r", 100) .. i end
	debug.getregistry()["refs.held"] = t
end)

-- Two globals share it.
left, right = {}, {}
measure("shared", function()
	local both = {}
	for i = 1, 5000 do both[i] = string.rep("s", 100) .. i end
	left.both, right.both = both, both
end)

if newbox then
	measure("_G.boxes", function()
		boxes = {}
		for i = 1, 1000 do boxes[i] = newbox(string.rep("u", 1000) .. i) end
	end)
	object(boxes[1], "userdata")
end

for i = 1, 1000 do object(sessions[i], "_G.sessions") end
for i = 1, 20 do object(workers[i], "_G.workers") end
object(peek, "_G.peek")
object(tree.left.right, "_G.tree")
object(package.loaded.mymod, "package.loaded.mymod")

if options.generational and _VERSION == "Lua 5.4" then
	collectgarbage("generational")
	for i = 1, 100000 do local t = { i } end
end
if options.midcycle then
	collectgarbage("stop")
	for i = 1, 20000 do local t = { tostring(i) .. string.rep("x", 50) } end
	-- some of a cycle, with what is dead not swept
	for i = 1, 20 do collectgarbage("step", 1) end
end
if options.garbage then
	full()
	collectgarbage("stop")
	for i = 1, 20000 do local t = { string.rep("g", 60) .. i } end
end
if arg then -- by the interpreter: it waits here; what is printed costs a little itself
	collectgarbage("stop")
	local text = string.format("count %d", collectgarbage("count") * 1024)
	print(text)
	print("ready")
	io.stdout:flush()
	io.read()
end
