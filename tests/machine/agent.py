#!/usr/bin/python3
"""The hand of the test harness inside an emulated machine.

Each connection asks for one command and is that command's life:

    harness: one line of JSON {"argv": [...], "environment": {...}}, then frames of standard input
    agent:   frames of output, then one frame with the exit status

A frame is a byte for its kind, four bytes of length (big-endian) and the content. Kinds: I standard input (empty: its
end), O standard output, E standard error, X exit status in decimal (128 + N for a death by signal N), F the command
could not be started, with the reason. A connection that breaks ends its command.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading

PORT = 4000


def send(connection, lock, kind, content):
    with lock:
        connection.sendall(kind + struct.pack(">I", len(content)) + content)


def forward(connection, lock, kind, stream):
    """Sends what the command writes, as soon as it is there."""
    while chunk := os.read(stream.fileno(), 65536):
        try:
            send(connection, lock, kind, chunk)
        except OSError:
            return


def feed(reader, process):
    """Gives the command its standard input; ends it when the harness is gone."""
    open_input = True
    while len(head := reader.read(5)) == 5:
        content = reader.read(struct.unpack(">I", head[1:])[0])
        try:
            if content and open_input:
                process.stdin.write(content)
                process.stdin.flush()
            elif open_input:
                open_input = False
                process.stdin.close()
        except OSError:
            open_input = False
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def serve(connection):
    lock = threading.Lock()
    with connection, connection.makefile("rb") as reader:
        line = reader.readline()
        if not line:
            return
        request = json.loads(line)
        try:
            process = subprocess.Popen(
                request["argv"],
                env={**os.environ, **request["environment"]},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            send(connection, lock, b"F", str(error).encode())
            return
        forwarders = [
            threading.Thread(target=forward, args=(connection, lock, kind, stream), daemon=True)
            for kind, stream in ((b"O", process.stdout), (b"E", process.stderr))
        ]
        feeder = threading.Thread(target=feed, args=(reader, process), daemon=True)
        for thread in [*forwarders, feeder]:
            thread.start()
        status = process.wait()
        for thread in forwarders:
            thread.join()
        try:
            send(connection, lock, b"X", str(status if status >= 0 else 128 - status).encode())
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        feeder.join()


def main():
    listener = socket.create_server(("0.0.0.0", PORT), backlog=64)
    with open("/dev/ttyS0", "w") as console:
        # The harness waits for this line.
        print("\ntest-agent: ready", file=console, flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
