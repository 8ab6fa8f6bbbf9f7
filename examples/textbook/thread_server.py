import socket
import sys
import threading


def serve(conn):
    while data := conn.recv(1024):
        conn.sendall(data)
    conn.close()


server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    conn, address = server.accept()
    threading.Thread(target=serve, args=(conn,), daemon=True).start()
