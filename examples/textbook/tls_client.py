import socket
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with socket.create_connection(("localhost", int(sys.argv[1]))) as sock:
    with context.wrap_socket(sock) as client:
        client.sendall(b"my password")
        client.recv(1024)
        print("sent my password, in", client.version())
