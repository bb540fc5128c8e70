//! The HTTP client: connections over TCP and TLS, HTTP/1.1 and HTTP/2, and one request on one of them.
