"""A real HTTP server for tests: serves and takes files of a directory, with ranges, and misbehaves on request.

http-server.py DIRECTORY: writes its port to DIRECTORY/port, and each request to DIRECTORY/requests. By path:
/status/403/…     answers that, whatever is asked
/cut/N/FILE       an answer from the start ends after N bytes, though it promised all
/reset/N/FILE     so does this, by a reset of the connection
/stall/N/FILE     after N bytes of an answer from the start nothing more comes, and the connection stays open
/flaky/N/FILE     every answer ends after N bytes
/no-range/FILE    ignores that a range was asked for
/unsized/FILE     does not say how long the answer is
/length/N/FILE    says of a part that it is one of a content of N bytes
/replaced/N/FILE  as cut; whoever asks for the rest is given that of FILE.new, of the same length
"""

import http.server
import os
import socket
import struct
import sys
import time

os.chdir(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def note(self, status):
        with open("requests", "a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {status}\n")

    def do_GET(self):
        words = self.path.partition("?")[0].lstrip("/").split("/")
        name = words[-1]
        if words[0] == "status":
            self.note(words[1])
            return self.send_error(int(words[1]))
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        first, _, last = asked.partition("-")
        first = int(first or 0)
        if words[0] == "replaced" and first:
            name += ".new"
        with open(name, "rb") as file:
            body = file.read()
        end = min(int(last) + 1, len(body)) if last else len(body)
        if asked and words[0] != "no-range":
            if first >= len(body):
                self.note(416)
                return self.send_error(416)
            self.send_response(206)
            total = words[1] if words[0] == "length" else len(body)
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{total}")
            self.note(206 if first else 200)
        else:
            first, end = 0, len(body)
            self.send_response(200)
            self.note(200)
        self.send_header("ETag", f'"{hash(body)}"')
        if words[0] != "unsized":
            self.send_header("Content-Length", str(end - first))
        self.end_headers()
        limit = end
        if words[0] == "flaky" or words[0] in ("cut", "reset", "stall", "replaced") and not first:
            limit = min(first + int(words[1]), end)
        self.wfile.write(body[first:limit])
        if limit < end:
            self.misbehave(words[0])

    def misbehave(self, how):
        if how == "stall":
            # Until the client has had enough.
            self.connection.recv(1)
        if how == "reset":
            # What was sent shall arrive before.
            time.sleep(0.2)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def do_PUT(self):
        words = self.path.lstrip("/").split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = int(words[1]) if words[0] == "status" else 201
        self.note(status)
        if status == 201:
            with open(words[-1], "wb") as file:
                file.write(body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open("port.new", "w") as file:
    file.write(str(server.server_port))
os.rename("port.new", "port")
server.serve_forever()
