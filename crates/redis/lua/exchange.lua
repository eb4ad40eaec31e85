-- What the store does with a batch of requests: `Birth::restarted`, `Birth::meet` and
-- `Ledger::exchange` of crates/core/src, step by step. There it says why; here it is said to Redis.
-- Change both, or neither: tests/differential holds the two together.
--
-- KEYS   1: the marker; then the bucket of each request, all in one slot
-- ARGV   1: known, hold
--        2: of each limit: drain, weight, tick, capacity
--        3: of each request: record id (16 bytes), limit (counted from 0), cost (-1: a lease is
--           asked for; -2: `spent` is charged, fits it or not), granted, spent, released, wanted,
--           needed, lease, expiry, demand
--        4: the run id of this server
-- Reply  since, emptied, now; then of each request: status, granted, expiry, wait (-1: held),
--        level, outstanding, replicas, demand
--
-- The marker is a string: since, emptied, run id. It never expires. A run id other than this
-- server's means that the marker was saved by an earlier process, or is another server's copy, and
-- that what happened since is lost: after a restart, a fail-over, a move to another shard.
--
-- A bucket is a hash: in the field `h` level, at, outstanding, demand, next_expiry, weight, replicas,
-- kept, ceiling; in a field named by its id each record: granted, spent, released, expiry, demand.
-- No value is longer than the 64 bytes up to which Redis keeps a small hash in one piece: so the
-- header's numbers take seven bytes each, but for a sum of claims, which a replica in error could
-- make longer than that.
--
-- All numbers are whole and below 2^53 and travel as little-endian doubles, so they are exact, and
-- so are floor(a / b) and ceil(a / b). `tostring` and `..` would round them to 14 digits. A number
-- handed to a command is written with 17.

local call, pack, unpack = redis.call, struct.pack, struct.unpack
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local LIMIT, LIMIT_SIZE = '<dddd', 32
local REQUEST, REQUEST_SIZE = '<c16dddddddddd', 96
local HEADER, RECORD, REPLY = '<I7I7dI7I7I7I7I7I7', '<ddddd', '<dddddddd'

local LEASED, REASSERTED, LEFT, OVER, SPENT, DENIED, CHARGED = 0, 1, 2, 3, 4, 5, 6
local CHARGE = -2
local HELD = -1
local WEIGHT_EXACT = 2 ^ 26
local LIFETIME_MARGIN = 1000000
-- A minute: setting an expiry as seldom as this costs nothing.
local LENGTHEN_MAX = 60000000
-- 142 years. A longer wait might not be exact, and is none the shorter.
local FOREVER = 2 ^ 52
-- scale.rs: LEVEL_END
local LEVEL_END = 2 ^ 52

local keys, limits, requests = KEYS, ARGV[2], ARGV[3]
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

local known, hold = unpack('<dd', ARGV[1])
local marker = call('GET', keys[1])
local since, emptied
if marker then
  since, emptied = unpack('<dd', marker)
  -- Birth::restarted
  if string.sub(marker, 17) ~= ARGV[4] then
    since, emptied, marker = max(now, since + 1), now + hold, nil
  end
  -- Birth::meet
  if known ~= 0 and known ~= since and not (known < since and emptied > 0) then
    since, emptied, marker = max(now, max(since, known) + 1), now + hold, nil
  end
elseif known == 0 then
  since, emptied = now, 0
else
  since, emptied = max(now, known + 1), now + hold
end
if not marker then
  call('SET', keys[1], pack('<dd', since, emptied) .. ARGV[4])
end

-- The limit, the ledger and, for a lease, its stored record (or false): of the request at hand.
local drain, weight, tick, capacity
local level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling
local own

-- Bucket::drain
local function drain_to(to)
  if to > at then
    local ticks = floor(to / tick) - floor(at / tick)
    if ticks >= ceil(level / drain) then
      level = 0
    else
      level = level - ticks * drain
    end
    at = to
  end
end

-- Bucket::emptied
local function count_as_spent(tokens)
  level, at = tokens * weight, emptied
end

-- Bucket::time_to_drain
local function time_to_drain(units)
  local micros = (floor(at / tick) + ceil(units / drain)) * tick - now
  return max(0, min(micros, FOREVER))
end

-- Ledger::adopt
local function adopt()
  local tokens = floor(level / weighed)
  local rest = level - tokens * weighed
  if rest > 0 then
    if weighed < WEIGHT_EXACT and weight < WEIGHT_EXACT then
      rest = ceil(rest * weight / weighed)
    else
      rest = weight
    end
  end
  level, weighed = min(tokens, floor(LEVEL_END / weight) - 1) * weight + rest, weight
end

-- Ledger::exact_ceiling
local function exact_ceiling()
  return min(ceiling, floor(LEVEL_END / weight) - 1)
end

-- Ledger::charge
local function charge(tokens)
  local most = exact_ceiling()
  local charged = min(level + min(tokens, most) * weight, most * weight)
  if charged > level then
    level = charged
  end
end

-- Ledger::expire
local function expire(key, id)
  local fields = call('HGETALL', key)
  local ended = {}
  next_expiry = 0
  for place = 1, #fields, 2 do
    local name = fields[place]
    if name ~= 'h' then
      local granted, spent, released, expiry, wish = unpack(RECORD, fields[place + 1])
      if expiry <= now then
        ended[#ended + 1] = { expiry = expiry, outstanding = granted - spent - released }
        demand, replicas = demand - wish, replicas - 1
        call('HDEL', key, name)
        if name == id then
          own = false
        end
      elseif next_expiry == 0 or expiry < next_expiry then
        next_expiry = expiry
      end
    end
  end
  table.sort(ended, function(a, b) return a.expiry < b.expiry end)
  for _, record in ipairs(ended) do
    drain_to(record.expiry)
    charge(record.outstanding)
    outstanding = outstanding - record.outstanding
  end
end

-- Ledger::free
local function free()
  return max(0, floor(max(0, capacity * weight - level) / weight) - outstanding)
end

-- Ledger::wait_for
local function wait_for(missing)
  local allowed = capacity - (outstanding + missing)
  if allowed < 0 then
    return HELD
  end
  local lacking = level - allowed * weight
  if lacking <= 0 then
    return 0
  end
  return time_to_drain(lacking)
end

local replies = { pack('<ddd', since, emptied, now) }
for number = 2, #keys do
  local key = keys[number]
  local id, limit, cost, known_granted, known_spent, known_released, wanted, needed, lease,
    known_expiry, wish = unpack(REQUEST, requests, (number - 2) * REQUEST_SIZE + 1)
  drain, weight, tick, capacity = unpack(LIMIT, limits, limit * LIMIT_SIZE + 1)

  -- Ledger::exchange
  local stored = call('HMGET', key, 'h', id)
  local header = stored[1]
  own = stored[2]
  if header then
    level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling =
      unpack(HEADER, header)
    ceiling = max(ceiling, capacity)
    if weight ~= weighed then
      adopt()
    end
    if at < emptied then
      count_as_spent(exact_ceiling())
    end
    if replicas > 0 and next_expiry <= now then
      expire(key, id)
    end
  else
    level, at, outstanding, demand, next_expiry = 0, now, 0, 0, 0
    weighed, replicas, kept, ceiling = weight, 0, 0, capacity
    if emptied > 0 then
      count_as_spent(capacity)
    end
  end
  drain_to(now)
  -- Ledger::lower_ceiling
  if level <= (capacity - outstanding) * weight then
    ceiling = capacity
  end

  local status, granted, expiry, wait = LEASED, 0, 0, 0
  local record
  if cost >= 0 then
    -- Ledger::spend
    if cost <= free() then
      level, status = level + cost * weight, SPENT
    else
      status, wait = DENIED, wait_for(cost)
    end
  elseif cost == CHARGE then
    charge(known_spent)
    status = CHARGED
  else
    -- Ledger::record_of
    local spent, released, wished = 0, 0, 0
    if own then
      granted, spent, released, expiry, wished = unpack(RECORD, own)
    end
    if known_granted > granted then
      if known_expiry <= now then
        status, granted, expiry = OVER, 0, 0
      else
        if not own then
          -- Record::settled
          spent = min(known_spent, known_granted)
          released = min(known_released, known_granted - spent)
          granted, expiry = spent + released, known_expiry
        end
        outstanding = outstanding + known_granted - granted
        granted, status = known_granted, REASSERTED
      end
    end

    if status ~= OVER then
      -- Ledger::report
      local more = max(0, min(known_spent, granted - released) - spent)
      spent = spent + more
      charge(more)
      outstanding = outstanding - more
      more = max(0, min(known_released, granted - spent) - released)
      released = released + more
      outstanding = outstanding - more
      demand = demand - wished + wish

      -- Ledger::grant
      local share = capacity
      if demand > 0 then
        share = floor(capacity / demand) * wish + floor(capacity % demand * wish / demand)
      end
      local held = granted - spent - released
      local asked = max(0, max(min(wanted, share), min(needed, wanted)) - held)
      local grant = min(asked, free())
      granted, outstanding, held = granted + grant, outstanding + grant, held + grant
      if grant < asked then
        wait = wait_for(1)
      end

      -- Ledger::lease
      if held == 0 and wanted == 0 then
        demand, expiry, status = demand - wish, 0, LEFT
        if own then
          replicas = replicas - 1
          call('HDEL', key, id)
        end
      else
        expiry = max(expiry, now + lease)
        if next_expiry == 0 or expiry < next_expiry then
          next_expiry = expiry
        end
        if not own then
          replicas = replicas + 1
        end
        record = pack(RECORD, granted, spent, released, expiry, wish)
      end
    end
  end

  -- Ledger::lifetime. Never shortened: another's lease may run longer than this one. Lengthened
  -- by up to half as much again, so that most calls need not lengthen it.
  local effect = level + min(outstanding, exact_ceiling()) * weight
  local forget = now + time_to_drain(effect) + lease + LIFETIME_MARGIN
  local lengthen = forget > kept
  if lengthen then
    kept = forget + min(floor((forget - now) / 2), LENGTHEN_MAX)
  end
  header =
    pack(HEADER, level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling)
  if record then
    call('HSET', key, 'h', header, id, record)
  else
    call('HSET', key, 'h', header)
  end
  if lengthen then
    call('PEXPIREAT', key, ceil(kept / 1000))
  end
  replies[number] = pack(REPLY, status, granted, expiry, wait, level, outstanding, replicas, demand)
end
return table.concat(replies)
