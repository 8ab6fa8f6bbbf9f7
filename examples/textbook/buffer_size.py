import socket

with socket.socket() as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1000000000)
    print("no error")
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 1000000000:
        print("and not what was asked for")
