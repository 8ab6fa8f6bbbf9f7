import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    conn, address = server.accept()
    with conn:
        while data := conn.recv(1024):
            for line in data.splitlines():
                conn.sendall(b"line: " + line + b"\n")
