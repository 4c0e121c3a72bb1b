-- What wrk sends, and how it reports. Arguments: METHOD RECORDS VALUE_BYTES DIALECT PREFIX
--
-- Each key is drawn anew from RECORDS keys (PREFIX and twelve digits), in each of wrk's threads by a seed of its own.
-- DIALECT is "corecache" (the key in the path, percent-encoded, the value as the body) or "etcd" (JSON with both in
-- base64, to the gateway). PREFIX has a multiple of three bytes, so that the base64 of a key is that of its parts.
-- The request is put together of strings made beforehand: wrk.format would cost more than the server's share.
-- The variable PORTS names the servers of this machine, one for each thread: the first thread asks the first, and so on.
-- The last line of the output is "RESULT " and a JSON object; times in it are microseconds.

local threads = 0
local ports = {}
for port in string.gmatch(os.getenv("PORTS") or "", "%d+") do ports[#ports + 1] = port end

function setup(thread)
   if #ports > 0 then thread.addr = wrk.lookup("127.0.0.1", ports[threads % #ports + 1])[1] end
   thread:set("number", threads)
   threads = threads + 1
end

local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
   local coded = {}
   for index = 1, #text, 3 do
      local a, b, c = string.byte(text, index, index + 2)
      local bits = a * 65536 + (b or 0) * 256 + (c or 0)
      for place = 18, 0, -6 do
         local digit = math.floor(bits / 2 ^ place) % 64 + 1
         coded[#coded + 1] = string.sub(letters, digit, digit)
      end
      if not c then coded[#coded] = "=" end
      if not b then coded[#coded - 1] = "=" end
   end
   return table.concat(coded)
end

local function quoted(text)
   return (string.gsub(text, "[^%w]", function(letter) return string.format("%%%02X", string.byte(letter)) end))
end

local function head(line, length)
   return line .. " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " .. length .. "\r\n\r\n"
end

function init(arguments)
   local method, value_bytes = arguments[1], tonumber(arguments[3])
   local dialect, prefix = arguments[4] or "corecache", arguments[5] or ""
   records = tonumber(arguments[2])
   math.randomseed(os.time() * 64 + number)
   local random = {}
   for index = 1, value_bytes do random[index] = string.char(math.random(97, 122)) end
   local value = table.concat(random)
   if dialect == "etcd" then
      local path = method == "PUT" and "put" or "range"
      after = method == "PUT" and '","value":"' .. base64(value) .. '"}' or '"}'
      before = '{"key":"' .. base64(prefix)
      before = head("POST /v3/kv/" .. path, #before + 16 + #after) .. before
   else
      before = method .. " /v1/kv/" .. quoted(prefix)
      after = method == "PUT" and head("", value_bytes) .. value or " HTTP/1.1\r\nHost: localhost\r\n\r\n"
   end
   triples = {}
   for index = 0, 999 do
      local triple = string.format("%03d", index)
      triples[index] = dialect == "etcd" and base64(triple) or triple
   end
end

function request()
   local key = math.random(0, records - 1)
   local thousands = math.floor(key / 1000)
   local millions = math.floor(thousands / 1000)
   return before .. triples[0] .. triples[millions] .. triples[thousands % 1000] .. triples[key % 1000] .. after
end

function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      'RESULT {"requests":%d,"duration_us":%d,"mean_us":%.0f,"p50_us":%d,"p95_us":%d,"p99_us":%d,"max_us":%d,'
         .. '"refused":%d,"broken":%d}\n',
      summary.requests, summary.duration, latency.mean, latency:percentile(50), latency:percentile(95),
      latency:percentile(99), latency.max, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
