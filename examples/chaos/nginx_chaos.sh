#!/bin/sh
# A web server under faults, and a new one checked against what the old one said: nginx behind tenon relay.
#
#	examples/chaos/nginx_chaos.sh            needs nginx and curl; tenon in PATH, or TENON=build/tenon
set -eu
tenon=${TENON:-tenon} dir=$(mktemp -d)
trap 'kill $(cat "$dir"/*.pid 2>/dev/null) 2>/dev/null || :; wait; rm -rf "$dir"' EXIT INT TERM

nginx_at() { # NAME: it serves $dir/www at $dir/NAME
	cat > "$dir/$1.conf" <<-END
		daemon off; master_process off; pid $dir/$1.pid; error_log stderr crit; events { }
		http { access_log off; server { listen unix:$dir/$1; root $dir/www; }
			client_body_temp_path $dir; proxy_temp_path $dir; fastcgi_temp_path $dir; uwsgi_temp_path $dir;
			scgi_temp_path $dir; }
	END
	nginx -p "$dir" -c "$dir/$1.conf" 2> /dev/null &
	until [ -S "$dir/$1" ] && [ -s "$dir/$1.pid" ]; do sleep 0.02; done
}

front() { # OPTIONS: a relay at $dir/front
	"$tenon" relay "unix:$dir/front" "unix:$dir/old" "$@" > /dev/null 2>&1 &
	echo $! > "$dir/relay.pid"
	until [ -S "$dir/front" ]; do sleep 0.02; done
}

end_front() {
	kill "$(cat "$dir/relay.pid")"
	while [ -S "$dir/front" ]; do sleep 0.02; done
}

mkdir "$dir/www"
echo "the page" > "$dir/www/page"
nginx_at old

# Under faults: two clients are refused, others get small pieces
front --chaos refuse,first=2 --chaos down.slice=7,down.slice-delay=1ms,latency=2ms
for try in 1 2 3; do curl -s --unix-socket "$dir/front" http://localhost/page && break; done
end_front

# By replay: without heads (HTTP/0.9), which hold the time
front --record "$dir/r.pcapng"
for name in page none; do printf 'GET /%s\r\n' $name | "$tenon" connect "unix:$dir/front" > /dev/null; done
end_front
nginx_at new
"$tenon" replay "$dir/r.pcapng" "unix:$dir/new" --closed -q > /dev/null && echo "the new one says the same"
echo "another page" > "$dir/www/page"
"$tenon" replay "$dir/r.pcapng" "unix:$dir/new" --closed -q > /dev/null || echo "a change is noticed"
