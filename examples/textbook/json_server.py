import json
import socket
import struct
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    conn, address = server.accept()
    with conn:
        while head := conn.recv(4):
            length, = struct.unpack("!I", head)
            request = json.loads(conn.recv(length))
            reply = json.dumps({"ack": request}).encode()
            conn.sendall(struct.pack("!I", len(reply)) + reply)
