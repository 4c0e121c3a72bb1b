-- What wrk sends, and how it reports. Arguments: METHOD RECORDS VALUE_BYTES
--
-- Each key is drawn anew from RECORDS keys (twelve digits), in each of wrk's threads by a seed of its own.
-- The request is put together of strings made beforehand: wrk.format would cost more than the server's share.
-- The last line of the output is "RESULT " and a JSON object; times in it are microseconds.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   local method = arguments[1]
   records = tonumber(arguments[2])
   local value_bytes = tonumber(arguments[3])
   math.randomseed(os.time() * 64 + number)
   before = method .. " /v1/kv/"
   if method == "PUT" then
      local letters = {}
      for index = 1, value_bytes do letters[index] = string.char(math.random(97, 122)) end
      after = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: " .. value_bytes .. "\r\n\r\n" .. table.concat(letters)
   else
      after = " HTTP/1.1\r\nHost: localhost\r\n\r\n"
   end
end

function request()
   return before .. string.format("%012d", math.random(0, records - 1)) .. after
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
