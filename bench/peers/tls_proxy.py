#!/usr/bin/env python3
"""nginx (stream) or haproxy (mode tcp) that takes TLS and passes the bytes on to a bare echo; ends with its parent's
signal.

    tls_proxy.py PROGRAM EPOLL_ECHO PORT CERT KEY BOTH
"""
import pathlib
import signal
import subprocess
import sys
import tempfile

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/log;
{module}
events {{ worker_connections 16384; }}
stream {{
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;
        tcp_nodelay on; proxy_pass 127.0.0.1:{echo};
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 5m
    timeout server 5m
frontend tls
    bind 127.0.0.1:{port} ssl crt {both} ssl-min-ver TLSv1.3 backlog 4096
    default_backend echo
backend echo
    server bare 127.0.0.1:{echo}
"""

MODULE = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def main():
    program, epoll_echo, port, cert, key, both = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            children.append(subprocess.Popen([epoll_echo, "tcp", "0"], stdout=subprocess.PIPE, text=True))
            echo = children[0].stdout.readline().split()[-1]
            is_nginx = program.endswith("nginx")
            text = (NGINX if is_nginx else HAPROXY).format(
                folder=folder, port=port, echo=echo, cert=cert, key=key, both=both,
                module=f"load_module {MODULE};" if MODULE.exists() else "")
            path = pathlib.Path(folder) / "conf"
            path.write_text(text, encoding="ascii")
            argv = [program, "-p", folder, "-c", path] if is_nginx else [program, "-db", "-q", "-f", path]
            children.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
            children[1].wait()
        finally:
            for child in children:
                child.kill()
                child.wait()


main()
