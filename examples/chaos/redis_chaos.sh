#!/bin/sh
# A program under faults, and a server checked against a recording: redis-server behind tenon relay.
#
#	examples/chaos/redis_chaos.sh            needs redis-server and redis-cli; tenon in PATH, or TENON=build/tenon
#
# A redis on a Unix socket is used through a slow and flaky relay, while that records; then the recording is said again
# to an empty redis, and every reply has to be the same.
set -eu
tenon=${TENON:-tenon} dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; wait; rm -rf "$dir"' EXIT INT TERM

redis() { # NAME: an empty one, at $dir/NAME
	redis-server --port 0 --unixsocket "$dir/$1" --save '' --dir "$dir" > /dev/null &
	echo $! > "$dir/$1.pid"
	until redis-cli -s "$dir/$1" ping > /dev/null 2>&1; do sleep 0.02; done
}

redis old
"$tenon" relay "unix:$dir/front" "unix:$dir/old" --record "$dir/r.pcapng" \
	--chaos latency=5ms,jitter=4ms,slice=3,seed=1 --chaos refuse,first=1 > /dev/null 2>&1 &
echo $! > "$dir/relay.pid"
until [ -S "$dir/front" ]; do sleep 0.02; done

redis-cli -s "$dir/front" set a 1 2> /dev/null | grep -q OK && { echo "the first client is not refused"; exit 1; }
redis-cli -s "$dir/front" set a 1
redis-cli -s "$dir/front" incr a
redis-cli -s "$dir/front" lpush list x y z
kill "$(cat "$dir/relay.pid")"
wait "$(cat "$dir/relay.pid")"

redis new
"$tenon" replay "$dir/r.pcapng" "unix:$dir/new" --closed --conns 1 > "$dir/report" || { cat "$dir/report"; exit 1; }
echo "every reply is the same"
