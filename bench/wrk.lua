-- Makes wrk end with one line of JSON, which the benchmarks read. wrk ... URL -- [LENGTH]: posts so many bytes.

function init(args)
  if args[1] then
    wrk.method = "POST"
    wrk.body = string.rep("x", tonumber(args[1]))
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'JSON {"requests": %d, "microseconds": %d, "bytes": %d, "failed": %d, "p50": %.1f, "p99": %.1f, "max": %.1f}\n',
    summary.requests, summary.duration, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
