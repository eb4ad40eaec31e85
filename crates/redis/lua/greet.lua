-- What a new connection does first: `Birth::restarted` of crates/core/src/birth.rs, if this server
-- is not the one that its marker speaks of. The marker was saved by an earlier server then, or is
-- another server's copy, and what happened since is lost.
--
-- KEYS   1: the marker
-- ARGV   1: hold   2: the run id of this server
-- Reply  since, emptied, now; empty if there is no marker. Numbers as in exchange.lua.

local call, pack, unpack = redis.call, struct.pack, struct.unpack

local marker = call('GET', KEYS[1])
if not marker then
  return ''
end
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local since, emptied = unpack('<dd', marker)
if string.sub(marker, 17) ~= ARGV[2] then
  local hold = unpack('<d', ARGV[1])
  since, emptied = math.max(now, since + 1), now + hold
  call('SET', KEYS[1], pack('<dd', since, emptied) .. ARGV[2])
end
return pack('<ddd', since, emptied, now)
