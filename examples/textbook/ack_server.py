import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind(("127.0.0.1", int(sys.argv[1])))
    print("listening", flush=True)
    while True:
        data, address = server.recvfrom(1024)
        server.sendto(b"ack: " + data, address)
