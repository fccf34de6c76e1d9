-- For wrk: each connection asks 10 ms after its last answer, as one that waits for plain.sleep of bench/apps would.

local path = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
dofile(path .. "wrk.lua")

function delay()
  return 10
end
