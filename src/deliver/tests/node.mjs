// An HTTP/2 server that drains its sessions under load. Arguments: the files with its certificate and its key. It
// prints its port, then one line per event: "took" or "refused" with the message's id, or "session".
import { readFileSync } from 'node:fs';
import { constants, createSecureServer } from 'node:http2';

const PER_SESSION = 100;
// In every third session a GOAWAY refuses the last 10 requests before the drain: it names the request before them.
const REFUSES_EACH = 3;
const REFUSED = 10;

const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const server = createSecureServer({ cert, key });
const tell = (line) => process.stdout.write(`${line}\n`);
let sessions = 0;

server.on('session', (session) => {
  sessions += 1;
  tell('session');
  // The GOAWAY of a closed session names the requests that have arrived, so they must be taken.
  const takes = sessions % REFUSES_EACH === 0 ? PER_SESSION - REFUSED : Infinity;
  let came = 0;
  let last;
  session.on('stream', (stream, headers) => {
    came += 1;
    const id = headers['webhook-id'];
    // The stream of a refused request is closed with an error.
    stream.on('error', () => {});
    if (came > takes) {
      tell(`refused ${id}`);
    } else {
      last = stream.id;
      stream.resume();
      stream.on('end', () => {
        stream.respond({ ':status': 200 }, { endStream: true });
        tell(`took ${id}`);
      });
    }
    if (came === PER_SESSION && takes === Infinity) {
      session.close();
    } else if (came === PER_SESSION) {
      session.goaway(constants.NGHTTP2_NO_ERROR, last);
      // This sends another GOAWAY, which names a later request unless the first GOAWAY was sent before. Such a GOAWAY
      // violates HTTP/2 (RFC 9113, 6.8), and a client ends the connection.
      setImmediate(() => session.close());
    }
  });
  session.on('error', () => {});
});

server.listen(0, '127.0.0.1', () => tell(server.address().port));
