import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    conn, address = server.accept()
    with conn, conn.makefile("rw") as stream:
        for line in stream:
            print(eval(line), file=stream, flush=True)
