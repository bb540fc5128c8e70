"""Prints each request and answers 204."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        print(self.path, self.headers["webhook-id"], body.decode(), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments):
        """No access log: do_POST prints more."""


ThreadingHTTPServer(("", 8000), Receiver).serve_forever()
