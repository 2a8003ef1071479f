-- What wrk runs: the same request again and again, or, with an argument N, one of the N paths
-- /r/0 … /r/N-1 at random. Prints the figures as one line of JSON.

local requests = {}

function init(args)
  local count = tonumber(args[1] or "0")
  if count == 0 then
    return
  end
  math.randomseed(1)
  for i = 0, count - 1 do
    requests[i + 1] = wrk.format("GET", "/r/" .. i)
  end
  request = function()
    return requests[math.random(count)]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"status_errors": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency.max, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
