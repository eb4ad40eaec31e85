-- What the store does with a batch of requests: `Marker::restarted`, `Marker::meet`,
-- `Roster::enroll` and `Ledger::exchange` of crates/core/src, step by step. There it says why; here
-- it is said to Redis. Change both, or neither: tests/differential holds the two together.
--
-- KEYS   1: the marker; then the bucket of each request, all in one slot
-- ARGV   1: known, quarantine, and how many buckets, from the first, may be strings
--        2: of each limit: drain, weight, tick, capacity, grantable
--        3: of each request: limit (counted from 0), cost; or in place of a cost
--           -1, a lease is asked for: record id (16 bytes), granted, spent, released, wanted,
--               needed, lease, expiry, demand
--           -2, tokens are charged, fit they or not: how many
--           -3, what is charged is forgiven
--        4: the run id of this server, 40 bytes
--        5: empty; or what the roster is told: replica (8 bytes), lease, parts, most, whether the
--           replica leaves (1) or not (0), and the expiry that it was told last
-- Reply  since, emptied, now; then of the seat: kept, parts, due, ended, expiry, all 0 if the
--        roster is told nothing; then of each request: status, granted, expiry, wait (-1: held),
--        free, full_in, outstanding, replicas, demand. All but the status are 0 of a request that
--        was not executed because what is stored under its key cannot be read.
--
-- The marker is a string: since, emptied, the earliest and the latest expiry of the entries of the
-- roster (0 if there are none), retired parts, ended, run id; then each entry: replica (8 bytes),
-- expiry, parts. It never expires. A run id other than this server's means that the marker was
-- saved by an earlier process, or is another server's copy, and that what happened since is lost:
-- after a restart, a fail-over, a move to another shard. The entries are read only when there is
-- something to do with them.
--
-- A bucket that has had no record is a string, because a string is read and written in half the
-- time: form, level, at, weight, kept, ceiling, retired. With its first record it becomes a hash,
-- and stays one: in the field `h` form, level, at, outstanding, demand, next_expiry, weight,
-- replicas, kept, ceiling, retired; in a field named by its id each record: granted, spent,
-- released, expiry, demand.
--
-- Whatever else is found under the name of a bucket was not written here, or by a later version: it
-- is neither taken for a bucket nor overwritten, and the other requests are executed. So nothing is
-- written about a key before all that is read of it has been checked, and what reads is `pcall`.
--
-- No value of a bucket is longer than the 64 bytes up to which Redis keeps a small hash in one
-- piece: so numbers take seven bytes each, but for replicas (three) and retired (four). They are
-- never negative, fractional or infinite then, whatever is stored.
--
-- A call of a function costs as much as some twenty steps of arithmetic here, and packing a number
-- as much as that. So what every request passes through is written out, and what comes of a spend is
-- remembered for the next key of which nothing is stored either.
--
-- All numbers are whole and below 2^53 and travel as little-endian doubles, so they are exact, and
-- so are floor(a / b) and ceil(a / b). `tostring` and `..` would round them to 14 digits. A number
-- handed to a command is written with 17.

local call, pcall, pack, unpack, spread =
  redis.call, redis.pcall, struct.pack, struct.unpack, unpack
local byte, format = string.byte, string.format
local floor, ceil, min, max = math.floor, math.ceil, math.min, math.max

local MARKER, MARKER_SIZE = '<ddddddc40', 88
local ENTRY, ENTRY_SIZE = '<c8dd', 24
local ENROLL = '<c8ddddd'
local SEAT = '<ddddd'
local LIMIT, LIMIT_SIZE = '<ddddd', 40
local REQUEST, TOKENS, TERMS = '<dd', '<d', '<c16dddddddd'
local FORM = 3
local PLAIN, PLAIN_SIZE = '<I1I7I7I7I7I7I4', 40
local HEADER, HEADER_SIZE = '<I1I7I7I7I7I7I7I3I7I7I4', 64
local RECORD, RECORD_SIZE = '<I7I7I7I7I7', 35
local REPLY = '<ddddddddd'

local LEASED, REASSERTED, LEFT, OVER, SPENT, DENIED, CHARGED = 0, 1, 2, 3, 4, 5, 6
local UNREADABLE = pack(REPLY, 7, 0, 0, 0, 0, 0, 0, 0, 0)
local FORGIVEN = 8
local LEASE, CHARGE, FORGIVE = -1, -2, -3
local HELD = -1
local WEIGHT_EXACT = 2 ^ 26
local LIFETIME_MARGIN = 1000000
-- A minute: setting an expiry as seldom as this costs nothing.
local LENGTHEN_MAX = 60000000
-- 142 years. A longer wait might not be exact, and is none the shorter.
local FOREVER = 2 ^ 52
-- scale.rs: LEVEL_END
local LEVEL_END = 2 ^ 52
-- ledger.rs: CLAIM_MAX
local CLAIM_MAX = 2 ^ 52
-- No number that is stored is as large.
local STORED_END = 2 ^ 53
-- birth.rs: AHEAD_MAX, QUARANTINE_MAX
local AHEAD_MAX, QUARANTINE_MAX = 60000000, 31622400000000
-- marker.rs: RETIRED_END
local RETIRED_END = 2 ^ 31
-- roster.rs
local PARTS, ENTRY_LEASE_MAX = 5040, 86400000000
local ENTRIES_MIN, NEWCOMERS_MIN, ENTRIES_MAX = 4, 10, 64
-- Records of one key, as far as three bytes count them.
local REPLICAS_END = 2 ^ 24
-- Keys that are read at once. Lua passes some thousands.
local READ_MAX = 1000

local keys, limits, requests = KEYS, ARGV[2], ARGV[3]
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]

-- What a read of one key gives: nil, and true, if the key is of another type. Any other error is the
-- batch's.
local function read(command, key, ...)
  local value = pcall(command, key, ...)
  if type(value) == 'table' and value.err then
    if string.find(value.err, 'WRONGTYPE', 1, true) ~= 1 then
      error(value)
    end
    return nil, true
  end
  return value
end

local known, quarantine, plains_end = unpack('<ddd', ARGV[1])
quarantine = min(quarantine, QUARANTINE_MAX)
local since, emptied, kept_marker
-- Of the roster; its entries only if there is something to do with them.
local earliest, latest, retired_parts, ended, entries
local tells = ARGV[5] ~= ''

-- Birth::lost
local function lose(after)
  since, emptied = min(max(now, after + 1), now + AHEAD_MAX), now + quarantine
  kept_marker = false
end

local marker, foreign = read('GET', keys[1])
if marker or foreign then
  local size, run_id = marker and #marker - MARKER_SIZE or -1
  if size >= 0 and size % ENTRY_SIZE == 0 and size <= ENTRIES_MAX * ENTRY_SIZE then
    since, emptied, earliest, latest, retired_parts, ended, run_id = unpack(MARKER, marker)
    -- Marker::is_possible
    kept_marker = since % 1 == 0 and since > 0 and since <= now + AHEAD_MAX
      and emptied % 1 == 0 and emptied >= 0
      and ended % 1 == 0 and ended >= emptied and ended <= now + max(quarantine, AHEAD_MAX)
      and retired_parts % 1 == 0 and retired_parts >= 0 and retired_parts < RETIRED_END
      and earliest % 1 == 0 and earliest >= 0 and (earliest > 0) == (size > 0)
      and latest >= earliest and latest <= now + ENTRY_LEASE_MAX + AHEAD_MAX
    if kept_marker and (tells or earliest > 0 and earliest <= now) then
      local given = 0
      entries = {}
      for place = MARKER_SIZE + 1, #marker, ENTRY_SIZE do
        local replica, expiry, parts = unpack(ENTRY, marker, place)
        kept_marker = kept_marker and expiry % 1 == 0 and expiry >= earliest and expiry <= latest
          and parts % 1 == 0 and parts >= 0
        given = given + parts
        entries[#entries + 1] = { replica = replica, expiry = expiry, parts = parts }
      end
      kept_marker = kept_marker and given <= PARTS
    end
  end
  if not kept_marker then
    lose(0)
  elseif run_id ~= ARGV[4] then
    -- Marker::restarted
    lose(since)
  end
  -- Birth::meet
  local is_later = known < since or known > now + AHEAD_MAX
  if known ~= 0 and known ~= since and not (is_later and emptied > 0) then
    lose(max(since, known))
  end
elseif known == 0 then
  since, emptied = now, 0
else
  lose(known)
end
if not kept_marker then
  -- Roster::new
  retired_parts, ended, entries = 0, emptied, {}
end

-- The seat in the reply: kept, parts, due, ended, expiry.
local seat = string.rep('\0', 40)
-- Marker::past: what the ledgers know of the roster, before it is told anything.
local all_retired, last_ended = retired_parts, ended
if entries then
  -- Roster::expire
  local living, packed = {}, { '' }
  for place = 1, #entries do
    local entry = entries[place]
    if entry.expiry > now then
      living[#living + 1] = entry
    elseif entry.parts > 0 then
      retired_parts, ended = retired_parts + entry.parts, max(ended, entry.expiry)
    end
  end
  all_retired, last_ended = retired_parts, ended

  -- Roster::enroll
  if tells then
    local replica, lease, works_by, most, leaves, told = unpack(ENROLL, ARGV[5])
    local others, given, had, expiry, own_entry = {}, 0, 0, 0, nil
    for place = 1, #living do
      local entry = living[place]
      if entry.replica == replica then
        had, expiry, own_entry = entry.parts, entry.expiry, entry
      else
        given = given + entry.parts
        others[#others + 1] = entry
      end
    end
    local kept, parts, due = 0, 0, 0
    local late = own_entry and expiry ~= told
    if late then
      kept = had
    elseif leaves == 0 then
      kept = min(had, works_by)
    end
    if kept < had then
      ended = max(ended, now)
    end
    if leaves == 0 and #others < ENTRIES_MAX then
      local least = ENTRIES_MIN
      if expiry == 0 then
        least = NEWCOMERS_MIN
      end
      due = min(floor(PARTS / max(#others + 1, least)), most)
      parts = max(kept, min(due, PARTS - given))
      expiry = max(expiry + 1, now + min(lease, ENTRY_LEASE_MAX))
      others[#others + 1] = { replica = replica, expiry = expiry, parts = parts }
    else
      if late then
        others[#others + 1] = own_entry
      end
      kept, expiry = 0, 0
    end
    living, seat = others, pack(SEAT, kept, parts, due, ended, expiry)
  end

  earliest, latest = 0, 0
  for place = 1, #living do
    local entry = living[place]
    if earliest == 0 or entry.expiry < earliest then
      earliest = entry.expiry
    end
    latest = max(latest, entry.expiry)
    packed[place + 1] = pack(ENTRY, entry.replica, entry.expiry, entry.parts)
  end
  packed[1] = pack('<dddddd', since, emptied, earliest, latest, retired_parts, ended) .. ARGV[4]
  packed = table.concat(packed)
  if packed ~= marker then
    -- Not SET: of those the server counts one for each bucket.
    call('MSET', keys[1], packed)
  end
end

-- Of the request at hand: the request, its limit, the ledger, the stored record of a lease (or
-- false), and the names of records that are over.
local plain, cost, tokens, id, known_granted, known_spent, known_released, wanted, needed, lease,
  known_expiry, wish
local limit, drain, weight, tick, capacity, grantable, advance
local grantable_level, advance_time, tokens_max
local level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling, retired
local own, ended_names

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

-- Meter::spent
local function count_as_spent(tokens)
  level, at = tokens * weight, emptied
end

-- Bucket::time_to_drain
local function time_to_drain(units)
  local micros = (floor(at / tick) + ceil(units / drain)) * tick - now
  if micros < 0 then
    return 0
  elseif micros > FOREVER then
    return FOREVER
  end
  return micros
end

-- Meter::adopt
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
  level, weighed = min(tokens, tokens_max) * weight + rest, weight
end

-- Ledger::exact_ceiling
local function exact_ceiling()
  if ceiling > tokens_max then
    return tokens_max
  end
  return ceiling
end

-- Ledger::charge
local function charge(tokens)
  local most = exact_ceiling()
  if tokens > most then
    tokens = most
  end
  local charged, end_level = level + tokens * weight, most * weight
  if charged > end_level then
    charged = end_level
  end
  if charged > level then
    level = charged
  end
end

-- Ledger::retire. The product of two numbers that are so large might not be exact.
local function retire()
  local parts = all_retired - retired
  if parts < 0 then
    parts = all_retired
  end
  retired = all_retired
  if parts > 0 and advance > 0 then
    drain_to(last_ended)
    local tokens = floor(advance / PARTS) * parts + floor(advance % PARTS * parts / PARTS)
    charge(tokens)
  end
end

-- Whether numbers of a record can be. Counts only grow, and none is spent or released that was not
-- granted.
local function is_record(granted, spent, released, expiry)
  return granted < STORED_END and expiry < STORED_END and spent + released <= granted
end

-- Ledger::expire. Returns whether all records could be read.
local function expire(key)
  local fields = call('HGETALL', key)
  local ended = {}
  next_expiry, ended_names = 0, {}
  for place = 1, #fields, 2 do
    local name = fields[place]
    if name ~= 'h' then
      if #name ~= 16 or #fields[place + 1] ~= RECORD_SIZE then
        return false
      end
      local granted, spent, released, expiry, wish = unpack(RECORD, fields[place + 1])
      if not is_record(granted, spent, released, expiry) then
        return false
      end
      if expiry <= now then
        ended[#ended + 1] = { expiry = expiry, outstanding = granted - spent - released }
        ended_names[#ended_names + 1] = name
        demand, replicas = demand - wish, replicas - 1
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
  return true
end

-- Ledger::wait_for
local function wait_for(missing)
  local allowed = grantable - (outstanding + missing)
  if allowed < 0 then
    return HELD
  end
  local lacking = level - allowed * weight
  if lacking <= 0 then
    return 0
  end
  return time_to_drain(lacking)
end

-- The request at `place`; returns the place of the next.
local function read_request(place)
  local number
  number, cost, place = unpack(REQUEST, requests, place)
  if number ~= limit then
    limit = number
    drain, weight, tick, capacity, grantable = unpack(LIMIT, limits, limit * LIMIT_SIZE + 1)
    -- As a level; and the most tokens of which a level is exact.
    grantable_level, tokens_max = grantable * weight, floor(LEVEL_END / weight) - 1
    -- ledger.rs: advance_drained_in
    advance = capacity - grantable
    advance_time = min(ceil(advance * weight / drain) * tick, FOREVER)
  end
  lease = 0
  if cost == LEASE then
    id, known_granted, known_spent, known_released, wanted, needed, lease, known_expiry, wish, place =
      unpack(TERMS, requests, place)
  elseif cost == CHARGE then
    tokens, place = unpack(TOKENS, requests, place)
  end
  return place
end

-- Returns whether the string `plain` is a bucket.
local function read_plain()
  if #plain ~= PLAIN_SIZE or byte(plain) ~= FORM then
    return false
  end
  local form
  form, level, at, weighed, kept, ceiling, retired = unpack(PLAIN, plain)
  outstanding, demand, next_expiry, replicas = 0, 0, 0, 0
  return level < STORED_END and at < STORED_END and weighed > 0 and weighed < STORED_END
    and kept < STORED_END and ceiling < STORED_END
end

-- Returns whether there is a hash, and whether something else is there that is no bucket. There may be
-- a string in place of a hash whose lease the store forgot.
local function read_hash(key)
  local header, foreign
  if cost == LEASE then
    local stored
    stored, foreign = read('HMGET', key, 'h', id)
    if foreign then
      plain, foreign = read('GET', key)
      return false, foreign
    end
    header, own = stored[1], stored[2]
    if not header then
      -- A lease is asked for first: there may well be nothing.
      return false, own or #call('HGETALL', key) > 0
    end
  else
    -- Something is there, or nobody would look.
    header, foreign = read('HGET', key, 'h')
    if not header then
      return false, true
    end
  end
  if #header ~= HEADER_SIZE or byte(header) ~= FORM or own and #own ~= RECORD_SIZE then
    return false, true
  end
  local form
  form, level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling, retired =
    unpack(HEADER, header)
  local is_bucket = level < STORED_END and at < STORED_END and outstanding < STORED_END
    and demand < STORED_END and weighed > 0 and weighed < STORED_END
    and kept < STORED_END and ceiling < STORED_END
  return is_bucket, not is_bucket
end

-- Stores a ledger that was read from a hash, or has a record now.
local function write_hash(key, record, lengthen)
  if plain then
    call('DEL', key)
  end
  if ended_names then
    for place = 1, #ended_names do
      call('HDEL', key, ended_names[place])
    end
  end
  local header = pack(
    HEADER, FORM, level, at, outstanding, demand, next_expiry, weighed, replicas, kept, ceiling,
    retired
  )
  if record then
    call('HSET', key, 'h', header, id, record)
  else
    call('HSET', key, 'h', header)
  end
  if lengthen or plain then
    call('PEXPIREAT', key, ceil(kept / 1000))
  end
end

-- Ledger::lease. Returns status, granted, expiry, wait, and the record if there is one now; nothing if
-- the stored one cannot be.
local function lease_out()
  -- Ledger::record_of
  local status, granted, spent, released, expiry, wished = LEASED, 0, 0, 0, 0, 0
  if own then
    granted, spent, released, expiry, wished = unpack(RECORD, own)
    if not is_record(granted, spent, released, expiry) then
      return nil
    end
  end
  if known_granted > granted then
    if known_expiry <= now then
      return OVER, 0, 0, 0
    end
    if not own then
      -- Record::settled
      spent = min(known_spent, known_granted)
      released = min(known_released, known_granted - spent)
      granted, expiry = spent + released, known_expiry
    end
    local claim = max(0, min(known_granted - granted, CLAIM_MAX - outstanding))
    outstanding, granted, status = outstanding + claim, granted + claim, REASSERTED
  end

  -- Ledger::report
  local reported = granted - released
  if known_spent < reported then
    reported = known_spent
  end
  if reported > spent then
    charge(reported - spent)
    outstanding = outstanding - (reported - spent)
    spent = reported
  end
  reported = granted - spent
  if known_released < reported then
    reported = known_released
  end
  if reported > released then
    outstanding = outstanding - (reported - released)
    released = reported
  end
  demand = demand - wished + wish

  -- Ledger::grant
  local share = grantable
  if demand > 0 then
    share = floor(grantable / demand) * wish + floor(grantable % demand * wish / demand)
  end
  local target = needed
  if share > target then
    target = share
  end
  if wanted < target then
    target = wanted
  end
  local held, wait = granted - spent - released, 0
  local asked = target - held
  if asked > 0 then
    local grant = 0
    -- Ledger::free
    if level < grantable_level then
      grant = max(0, min(asked, floor((grantable_level - level) / weight) - outstanding))
    end
    granted, outstanding, held = granted + grant, outstanding + grant, held + grant
    if grant < asked then
      wait = wait_for(1)
    end
  end

  if held == 0 and wanted == 0 then
    demand = demand - wish
    if own then
      replicas = replicas - 1
      ended_names = ended_names or {}
      ended_names[#ended_names + 1] = id
    end
    return LEFT, granted, 0, wait
  end
  if expiry < now + lease then
    expiry = now + lease
  end
  if next_expiry == 0 or expiry < next_expiry then
    next_expiry = expiry
  end
  if not own then
    replicas = replicas + 1
    if replicas == REPLICAS_END then
      return nil
    end
  end
  return status, granted, expiry, wait, pack(RECORD, granted, spent, released, expiry, wish)
end

-- What was last written as a string, and when it is forgotten.
local value, until_ms

-- Stores a ledger that has had no record. Returns false if there is a hash, which nobody knew of.
local function write_plain(key, lengthen)
  value = pack(PLAIN, FORM, level, at, weighed, kept, ceiling, retired)
  if plain and not lengthen then
    return call('SET', key, value, 'KEEPTTL')
  end
  until_ms = format('%.0f', ceil(kept / 1000))
  if plain then
    return call('SET', key, value, 'PXAT', until_ms)
  end
  return call('SET', key, value, 'NX', 'PXAT', until_ms)
end

-- Ledger::exchange, of the ledger in the string `plain`, in a hash, or of none. Returns the reply; nil
-- if there is something else than a string, of which it was not told.
local function exchange(key, in_hash)
  local foreign
  own, ended_names = false, nil
  if in_hash then
    in_hash, foreign = read_hash(key)
  end
  if foreign or plain and not in_hash and not read_plain() then
    return UNREADABLE
  end
  if plain or in_hash then
    if ceiling < capacity then
      ceiling = capacity
    end
    if weight ~= weighed then
      adopt()
    end
    if at < emptied then
      count_as_spent(exact_ceiling())
      retired = 0
    end
    if retired ~= all_retired then
      retire()
    end
    if replicas > 0 and next_expiry <= now and not expire(key) then
      return UNREADABLE
    end
  else
    level, at, outstanding, demand, next_expiry = 0, now, 0, 0, 0
    weighed, replicas, kept, ceiling, retired = weight, 0, 0, capacity, all_retired
    if emptied > 0 then
      count_as_spent(capacity)
    end
    -- Ledger::open
    if advance > 0 and last_ended > 0 then
      if emptied == 0 then
        at = last_ended
      end
      drain_to(last_ended)
      charge(advance)
    end
  end
  if now > at then
    drain_to(now)
  end
  -- Ledger::lower_ceiling
  if level <= (capacity - outstanding) * weight then
    ceiling = capacity
  end

  local status, granted, expiry, wait = CHARGED, 0, 0, 0
  local record
  if cost >= 0 then
    -- Ledger::spend; of Ledger::free, in level units
    if (cost + outstanding) * weight <= grantable_level - level or cost == 0 then
      level, status = level + cost * weight, SPENT
    else
      status, wait = DENIED, wait_for(cost)
    end
  elseif cost == CHARGE then
    charge(tokens)
    wait = wait_for(1)
  elseif cost == FORGIVE then
    -- Ledger::forgive
    if at > now then
      status, wait = DENIED, min(at - now, FOREVER)
    else
      level, status = 0, FORGIVEN
    end
  else
    status, granted, expiry, wait, record = lease_out()
  end
  -- Sums that do not belong to their records.
  if not status or outstanding < 0 or demand < 0 or replicas < 0 then
    return UNREADABLE
  end

  -- Ledger::full_in
  local effect = level
  if outstanding > 0 then
    effect = level + min(outstanding, exact_ceiling()) * weight
  end
  local full_in = time_to_drain(effect)
  -- Ledger::lifetime. Never shortened: another's lease may run longer than this one. Lengthened
  -- by up to half as much again, so that most calls need not lengthen it.
  local forget = now + full_in
  if full_in > 0 then
    forget = forget + advance_time
  end
  if lease > 0 then
    forget = forget + lease + LIFETIME_MARGIN
  end
  local lengthen = forget > kept
  if lengthen then
    local more = (forget - now) / 2
    if more > LENGTHEN_MAX then
      more = LENGTHEN_MAX
    end
    kept = min(forget + floor(more), STORED_END - 1)
  end
  if record or in_hash then
    write_hash(key, record, lengthen)
  elseif not write_plain(key, lengthen) then
    return nil
  end
  -- Ledger::free
  local uncharged = grantable_level - level
  local free = (uncharged - uncharged % weight) / weight - outstanding
  if free < 0 then
    free = 0
  end
  return pack(REPLY, status, granted, expiry, wait, free, full_in, outstanding, replicas, demand)
end

-- The buckets that are strings, by the place of their key; false for what is none, or a hash.
local plains = {}
for first = 2, plains_end + 1, READ_MAX do
  local found = call('MGET', spread(keys, first, min(first + READ_MAX - 1, plains_end + 1)))
  for place = 1, #found do
    plains[first + place - 1] = found[place]
  end
end

local replies = { pack('<ddd', since, emptied, now) .. seat }
local answered = {}
-- The last spend on a key of which nothing was stored, and what came of it. The same comes of the next.
local new_limit, new_cost, new_value, new_until, new_reply
local place = 1
for number = 2, #keys do
  local key = keys[number]
  plain = plains[number]
  -- What was read before is out of date for a key that comes twice.
  if answered[key] then
    plain = call('MGET', key)[1]
  end
  answered[key] = true
  place = read_request(place)
  -- Nothing is found of a key that is asked for the first time, nor of one that is no string. The former
  -- are more, so that is what is tried first; a lease needs a hash in any case.
  local reply
  if plain or cost == LEASE then
    reply = exchange(key, not plain)
  elseif cost == new_cost and limit == new_limit then
    reply = call('SET', key, new_value, 'NX', 'PXAT', new_until) and new_reply
  else
    reply = exchange(key, false)
    if reply and cost >= 0 then
      new_limit, new_cost, new_value, new_until, new_reply = limit, cost, value, until_ms, reply
    end
  end
  replies[number] = reply or exchange(key, true)
end
return table.concat(replies)
