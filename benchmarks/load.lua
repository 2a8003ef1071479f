-- What wrk runs. Arguments are written name=value:
--   path=/x   what is asked for
--   routes=N  instead one of the N paths /r/0 … /r/N-1, at random
--   body=N    POST so many bytes
--   close=1   a connection for each request
--   own=1     each request has a header that no other has
--   header=n: v  a header of each request
-- Prints the figures as one line of JSON.

local function options(args)
  local given = {}
  for _, argument in ipairs(args) do
    local name, value = argument:match("^(%w+)=(.*)$")
    given[name] = value
  end
  return given
end

local function at_random(count)
  local requests = {}
  math.randomseed(1)
  for i = 0, count - 1 do
    requests[i + 1] = wrk.format("GET", "/r/" .. i)
  end
  return function()
    return requests[math.random(count)]
  end
end

local function with_headers_of_their_own()
  local head = wrk.format():sub(1, -3) -- without the empty line
  local number = 0
  return function()
    number = number + 1
    return string.format("%straceparent: 00-%032x-%016x-01\r\n\r\n", head, number, number)
  end
end

function init(args)
  local given = options(args)
  wrk.path = given.path or wrk.path
  if given.header then
    local name, value = given.header:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
  if given.close then
    wrk.headers["Connection"] = "close"
  end
  if given.body then
    wrk.method = "POST"
    wrk.body = string.rep("x", tonumber(given.body))
  end
  if given.routes then
    request = at_random(tonumber(given.routes))
  elseif given.own then
    request = with_headers_of_their_own()
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
