import socket
import sys

message = b"x" * int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.sendto(message, ("127.0.0.1", int(sys.argv[1])))
    reply, address = client.recvfrom(65536)
    print("sent", len(message), "bytes, acknowledged", len(reply) - len("ack: "))
