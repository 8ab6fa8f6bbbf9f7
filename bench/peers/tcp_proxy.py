#!/usr/bin/env python3
"""nginx (stream) or haproxy (mode tcp) in front of a server, in the place of this process, whose time is measured.

    tcp_proxy.py PROGRAM tcp|tls|udp PORT TARGET_PORT [CERT KEY BOTH]

tls: it takes TLS from the clients, with these files, and passes the bytes on. udp: nginx only.
"""
import os
import pathlib
import sys
import tempfile

NGINX = """
daemon off; master_process off; worker_processes 1; pid {pid}; error_log stderr;
{module}
events {{ worker_connections 16384; }}
stream {{
    server {{
        listen 127.0.0.1:{port} {how}proxy_pass 127.0.0.1:{target};
    }}
}}
"""

NGINX_LISTENS = {
    "tcp": "backlog=4096; tcp_nodelay on; ",
    "tls": "ssl backlog=4096; tcp_nodelay on; ssl_protocols TLSv1.3; ssl_certificate {cert}; "
           "ssl_certificate_key {key}; ",
    "udp": "udp rcvbuf=4m; ",
}

# splice(2) both ways, which is off unless asked for
HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    option splice-auto
    timeout connect 5s
    timeout client 5m
    timeout server 5m
frontend clients
    bind 127.0.0.1:{port} {how}backlog 4096
    default_backend echo
backend echo
    server bare 127.0.0.1:{target}
"""
HAPROXY_LISTENS = {"tcp": "", "tls": "ssl crt {both} ssl-min-ver TLSv1.3 "}

MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def main():
    program, proto, port, target, *files = sys.argv[1:]
    is_nginx = program.endswith("nginx")
    # nginx removes that file when it ends
    pid = f"{tempfile.gettempdir()}/tenon-bench-{os.getpid()}.pid"
    how = (NGINX_LISTENS if is_nginx else HAPROXY_LISTENS)[proto].format(**dict(zip(("cert", "key", "both"), files)))
    text = (NGINX if is_nginx else HAPROXY).format(
        port=port, target=target, pid=pid, how=how,
        module=f"load_module {MODULE};" if MODULE.exists() else "")
    conf = os.memfd_create("conf", 0)
    os.write(conf, text.encode())
    path = f"/proc/self/fd/{conf}"
    argv = [program, "-p", "/", "-c", path] if is_nginx else [program, "-db", "-q", "-f", path]
    os.execv(program, argv)


main()
