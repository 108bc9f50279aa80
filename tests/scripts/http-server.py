"""A real HTTP server for tests: serves and takes files of a directory, with ranges, and misbehaves on request.

http-server.py DIRECTORY: writes its port to DIRECTORY/port, and each request to DIRECTORY/requests. By path:
/status/403/…    answers that, whatever is asked
/cut/N/FILE      the first answer ends after N bytes, though it promised all
/no-range/FILE   ignores that a range was asked for
"""

import http.server
import os
import sys

os.chdir(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def note(self, status):
        with open("requests", "a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {status}\n")

    def do_GET(self):
        words = self.path.lstrip("/").split("/")
        cut = None
        if words[0] == "status":
            self.note(words[1])
            return self.send_error(int(words[1]))
        if words[0] == "cut":
            cut = int(words[1])
        with open(words[-1], "rb") as file:
            body = file.read()
        first = 0
        asked = self.headers.get("Range", "")
        if asked and words[0] != "no-range":
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.note(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first:cut] if cut and not first else body[first:])

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
