-- For wrk: the connections begin one after the other, spread over the first WAIT milliseconds, and rest for REST
-- milliseconds between an answer and the next question. wrk ... URL -- CONNECTIONS WAIT REST

local path = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(path .. "wrk.lua")

local begun = 0

function init(args)
  connections, wait, rest = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
end

function delay()
  begun = begun + 1
  if begun <= connections then
    return math.floor(begun * wait / connections)
  end
  return rest
end
