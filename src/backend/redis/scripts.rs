//! What runs inside the server, each in one step.

/// KEYS: the document. ARGV: the version that must stand there (empty: nothing must), the value,
/// the time to live in milliseconds (empty: none). 1: written; 0: something else stands there.
///
/// The version of a short value is the value, of a long one its length and SHA-1: nothing but the
/// value is stored, so that anybody can read it with GET. Whatever is not a string is foreign.
pub const PUT: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
local present = ''
if kind == 'string' then
  local value = redis.call('GET', KEYS[1])
  present = #value <= 64 and '=' .. value or '#' .. #value .. ':' .. redis.sha1hex(value)
elseif kind ~= 'none' then
  return 0
end
if present ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
";

/// KEYS: the document. ARGV: its version. 1: gone, whoever did it; 0: something else stands there.
pub const DELETE: &str = r"
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'none' then return 1 end
if kind ~= 'string' then return 0 end
local value = redis.call('GET', KEYS[1])
local present = #value <= 64 and '=' .. value or '#' .. #value .. ':' .. redis.sha1hex(value)
if present ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
";

/// Ends the last connection's session, so that what still lies in a buffer of the server on its
/// behalf is refused, and begins one. Answers how far the old one came, or nothing of it is known.
///
/// KEYS: the old session, the new one. ARGV: how long an unused session is kept, in milliseconds.
pub const SESSION: &str = r"
local last = redis.call('HMGET', KEYS[1], 'last', 'refused')
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'last', '0')
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return {last[1] or '', last[2] or '0'}
";

/// Takes one batch if the one before it was taken, whole but for what can never be taken.
///
/// The first write is the session's: when the server is out of memory, read-only or cannot save, it
/// refuses that one, and so the whole batch; after it, it refuses no write of the script for those.
///
/// KEYS: the session, the topics. ARGV: the batch before, this batch, the session's time to live,
/// the stream's length, its age in milliseconds (0: any), then for each event the index of its
/// topic in KEYS and its JSON. Answers `behind`, or `ok` with the places of refused events from 0
/// and, one each topic, why.
pub const PUBLISH: &str = r"
if redis.call('HGET', KEYS[1], 'last') ~= ARGV[1] then return {'behind'} end
redis.call('HSET', KEYS[1], 'last', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local at, bad, refused, why = {}, {}, {}, {}
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind == 'none' then
    at[i] = 0
  elseif kind == 'stream' then
    local info = redis.call('XINFO', 'STREAM', KEYS[i])
    for f = 1, #info, 2 do
      if info[f] == 'entries-added' then at[i] = info[f + 1] end
    end
  else
    bad[i] = true
    why[#why + 1] = KEYS[i] .. ' holds a ' .. kind
  end
end
for a = 6, #ARGV, 2 do
  local i = tonumber(ARGV[a])
  if not bad[i] then
    local done
    if at[i] then
      done = redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', ARGV[4], '*', 'data', ARGV[a + 1], 'n', at[i])
    else
      done = redis.pcall('XADD', KEYS[i], 'MAXLEN', '~', ARGV[4], '*', 'data', ARGV[a + 1])
    end
    if type(done) == 'table' and done.err then
      bad[i] = true
      why[#why + 1] = KEYS[i] .. ': ' .. done.err
    elseif at[i] then
      at[i] = at[i] + 1
    end
  end
  if bad[i] then refused[#refused + 1] = (a - 6) / 2 end
end
if ARGV[5] ~= '0' then
  local now = redis.call('TIME')
  local oldest = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[5])
  for i = 2, #KEYS do
    if not bad[i] then redis.call('XTRIM', KEYS[i], 'MINID', '~', oldest) end
  end
end
if #refused > 0 then redis.call('HSET', KEYS[1], 'refused', ARGV[2]) end
return {'ok', refused, why}
";

/// Reads a part of a topic.
///
/// An event's offset is the number of entries that were ever added to the stream before it, which
/// the server itself counts (`entries-added`), entries of other writers included. Ours carry it as
/// field `n`; an entry without it follows the one before it, and the first one of all is where the
/// count of the entries that are left says. So offsets stay true unless somebody deletes single
/// entries (XDEL) out of a run of foreign ones.
///
/// KEYS: the stream. ARGV: `now`, `start` or `at`; the offset; about how many bytes; how many
/// events; an id (or nothing) and the offset of what comes behind it.
pub const READ: &str = r"
local key, mode, want = KEYS[1], ARGV[1], tonumber(ARGV[2])
local function text(number) return string.format('%.0f', number) end
local kind = redis.call('TYPE', key).ok
if kind == 'none' then
  if mode == 'now' then return {'now', '0'} end
  return {'park', text(want), '0-0'}
end
if kind ~= 'stream' then return {'foreign', kind} end
local info, raw = {}, redis.call('XINFO', 'STREAM', key)
for f = 1, #raw, 2 do info[raw[f]] = raw[f + 1] end
local added, head, last = info['entries-added'], info['first-entry'], info['last-generated-id']
if not added then return {'old'} end
if mode == 'now' then return {'now', text(added)} end
local function field(entry, name)
  for f = 1, #entry[2], 2 do
    if entry[2][f] == name then return entry[2][f + 1] end
  end
end
local function number(entry)
  local n = tonumber(field(entry, 'n') or '')
  if n and n >= 0 and n < added and n == math.floor(n) then return n end
end
local function range(from, count) return redis.call('XRANGE', key, from, '+', 'COUNT', count) end
local function near(from)
  local entries = range(from, 1)
  if entries[1] and number(entries[1]) then return entries[1][1], number(entries[1]) end
  entries = range(from, 32)
  for i = 2, #entries do
    local n = number(entries[i])
    if n then return entries[1][1], n - i + 1 end
  end
end
local first = added - info['length']
if head then first = number(head) or first end
if mode == 'start' then want = first end
if want > added then return {'beyond', text(added)} end
if want == added then return {'park', text(added), last} end
if not head then return {'chunk', text(want), text(added), last, {}} end

local from, at, hinted = '-', first, false
if want > first and ARGV[5] ~= '' and tonumber(ARGV[6]) <= want then
  from, at, hinted = '(' .. ARGV[5], tonumber(ARGV[6]), true
elseif want > first then
  local function millis(id) return tonumber(string.match(id, '^%d+')) end
  local low, high = millis(head[1]), millis(info['last-entry'][1])
  while low < high do
    local middle = math.ceil((low + high) / 2)
    local id, n = near(text(middle))
    if n and n <= want then
      from, at, low = id, n, middle
    else
      high = middle - 1
    end
  end
end

local bytes, step, passed, ended, entries, until_id = 0, 16, 0, false, {}, ''
while not ended and bytes < tonumber(ARGV[3]) and #entries < tonumber(ARGV[4]) do
  local some = range(from, step)
  ended = #some < step
  for i = 1, #some do
    local entry, n = some[i], number(some[i])
    if hinted and n and n < at then return {'stale'} end
    if n and n > at then at = n end
    until_id = entry[1]
    if at >= want then
      local data = field(entry, 'data')
      entries[#entries + 1] = {entry[1], text(at), data or false, n and 1 or 0}
      bytes = bytes + #(data or '') + 64
    else
      passed = passed + 1
    end
    at = at + 1
    if bytes >= tonumber(ARGV[3]) or #entries >= tonumber(ARGV[4]) then
      ended = false
      break
    end
  end
  if until_id ~= '' then from = '(' .. until_id end
  if passed > 4000 and #entries == 0 and not ended then return {'more', until_id, text(at)} end
  if bytes * 4 < tonumber(ARGV[3]) then step = math.min(step * 2, 256) end
end
if ended then at = added end
if until_id == '' then until_id = last end
return {'chunk', text(want), text(at), until_id, entries}
";
