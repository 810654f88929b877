//! What runs inside the server, each in one step.
//!
//! A room has two keys: `wsm:rooms:n:<room>`, its last number as `<epoch>-<offset>`, and
//! `wsm:rooms:s:<room>`, a stream whose ids are those numbers. Lua's numbers are exact up to 2^53.

/// Numbers, keeps and publishes one message to all its rooms, or changes nothing.
///
/// A new epoch begins when nothing is known of the room, and when less is known than the caller has
/// seen: the server lost its data, or was put back to an older state.
///
/// The first write is a number's: when the server is out of memory, read-only or cannot save, it
/// refuses that one, and so the whole message; after it, it refuses no write of the script for those.
///
/// KEYS: number and stream of each room that keeps something. ARGV: what is before the wall clock in
/// the message, its sender, its payload; then for each room, by name: the name, an epoch and an offset,
/// how many messages it keeps (0: it is numbered by the caller alone, and these are the numbers; else
/// they are the highest that the caller has seen), how many bytes, how long the stream lives, and how
/// long the number does, in milliseconds. Answers epoch and offset of each room, or `foreign` and a key.
///
/// Bytes are bounded where messages are longer than their share, and approximately: the server knows
/// the memory of a stream from samples of it.
pub const PUBLISH: &str = r"
local now = redis.call('TIME')
local micros = now[1] * 1000000 + now[2]
local rooms, key, alone = {}, 1, false
local function text(number) return string.format('%.0f', number) end
local function last_id(stream)
  local info = redis.call('XINFO', 'STREAM', stream)
  for f = 1, #info, 2 do
    if info[f] == 'last-generated-id' then return tonumber(string.match(info[f + 1], '^%d+')) end
  end
  return 0
end
for a = 4, #ARGV, 7 do
  local room = {name = ARGV[a], epoch = tonumber(ARGV[a + 1]), offset = tonumber(ARGV[a + 2])}
  rooms[#rooms + 1] = room
  if ARGV[a + 3] == '0' then
    alone = true
  else
    room.number, room.stream, room.rule = KEYS[key], KEYS[key + 1], a + 3
    key = key + 2
    local kind = redis.call('TYPE', room.stream).ok
    if kind ~= 'none' and kind ~= 'stream' then return {'foreign', room.stream} end
    kind = redis.call('TYPE', room.number).ok
    if kind ~= 'none' and kind ~= 'string' then return {'foreign', room.number} end
    local e, o = string.match(redis.call('GET', room.number) or '', '^(%d+)-(%d+)$')
    e, o = tonumber(e), tonumber(o)
    if not e or e < room.epoch or (e == room.epoch and o < room.offset) then
      local known = math.max(e or 0, room.epoch)
      if redis.call('EXISTS', room.stream) == 1 then known = math.max(known, last_id(room.stream)) end
      e, o = math.max(known + 1, math.floor(micros / 1000)), 0
    end
    room.epoch, room.offset = e, o + 1
  end
end
local head = {ARGV[1], struct.pack('>I8', micros), string.char(#rooms)}
for i = 1, #rooms do
  local room = rooms[i]
  head[#head + 1] = struct.pack('>I2', #room.name) .. room.name .. struct.pack('>I8I8', room.epoch, room.offset)
end
head = table.concat(head)
local shared = head .. '\0\0' .. ARGV[3]
for i = 1, #rooms do
  local room = rooms[i]
  if room.number then
    local at = text(room.epoch) .. '-' .. text(room.offset)
    redis.call('SET', room.number, at, 'PX', ARGV[room.rule + 3])
  end
end
local answer = {}
for i = 1, #rooms do
  local room = rooms[i]
  if room.number then
    local at = text(room.epoch) .. '-' .. text(room.offset)
    local most, bytes = tonumber(ARGV[room.rule]), tonumber(ARGV[room.rule + 1])
    local added = redis.pcall('XADD', room.stream, 'MAXLEN', '~', most, at, 'm', shared)
    if type(added) == 'table' and added.err then
      redis.call('DEL', room.stream)
      redis.call('XADD', room.stream, at, 'm', shared)
    end
    if #shared * most > bytes then
      local used = redis.pcall('MEMORY', 'USAGE', room.stream)
      if type(used) == 'number' and used > bytes then
        local length = redis.call('XLEN', room.stream)
        redis.call('XTRIM', room.stream, 'MAXLEN', '~', math.max(1, math.floor(length * bytes / used)))
      end
    end
    redis.call('PEXPIRE', room.stream, ARGV[room.rule + 2])
  end
  answer[#answer + 1] = room.epoch
  answer[#answer + 1] = room.offset
end
local own = alone and head .. ARGV[2] .. ARGV[3]
for i = 1, #rooms do
  local room = rooms[i]
  redis.call('PUBLISH', 'wsm:rooms:m:' .. room.name, room.number and shared or own)
end
return answer
";

/// The last numbers of rooms, which are kept alive by that. A room of which nothing is known, or less
/// than the caller has seen, begins its next epoch here: who listens from now on has a place to come
/// back to. Where that cannot be written, the highest that is known.
///
/// KEYS: numbers. ARGV: how long one lives to which nothing was sent yet, in milliseconds; then for
/// each the highest epoch and offset that the caller has seen, and how long it lives. Answers epoch and
/// offset of each.
pub const HEADS: &str = r"
local now = redis.call('TIME')
local millis = now[1] * 1000 + math.floor(now[2] / 1000)
local answer = {}
for i = 1, #KEYS do
  local epoch, offset, life = tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3]), tonumber(ARGV[i * 3 + 1])
  local value = redis.pcall('GET', KEYS[i])
  local e, o = string.match(type(value) == 'string' and value or '', '^(%d+)-(%d+)$')
  e, o = tonumber(e), tonumber(o)
  if not e or e < epoch or (e == epoch and o < offset) then
    local next = math.max(math.max(e or 0, epoch) + 1, millis)
    local set = {err = true}
    if not (type(value) == 'table' and value.err) then
      set = redis.pcall('SET', KEYS[i], string.format('%.0f-0', next), 'PX', ARGV[1])
    end
    if set.err then e, o = epoch, offset else e, o = next, 0 end
  else
    if o == 0 then life = tonumber(ARGV[1]) end
    if redis.call('PTTL', KEYS[i]) < life / 2 then redis.pcall('PEXPIRE', KEYS[i], life) end
  end
  answer[#answer + 1] = e
  answer[#answer + 1] = o
end
return answer
";

/// What is kept of a room. KEYS: its number, its stream. ARGV: the id behind which to begin (empty:
/// the last ones are wanted), how many. Answers the number and the entries, the last ones backwards.
pub const SINCE: &str = r"
local entries
if ARGV[1] == '' then
  entries = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', ARGV[2])
else
  entries = redis.call('XRANGE', KEYS[2], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])
end
return {redis.call('GET', KEYS[1]) or '', entries}
";
