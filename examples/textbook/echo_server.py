import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
    server.bind(("127.0.0.1", int(sys.argv[1])))
    server.listen()
    print("listening", flush=True)
    while True:
        conn, address = server.accept()
        with conn:
            while data := conn.recv(1024):
                conn.sendall(data)
