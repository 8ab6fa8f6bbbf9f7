import base64
import hashlib
import re
import socket
import sys

server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    conn, address = server.accept()
    with conn:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", conn.recv(4096), re.I)[1]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while frame := conn.recv(1024):
            length = frame[1] & 127
            mask, data = frame[2:6], frame[6:6 + length]
            text = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
            conn.sendall(bytes([0x81, len(text)]) + text)
