// Stands between clients and a server, and delays requests and answers. A process of its own, so that the delay takes no CPU
// of the measured process. `process.send` tells the port; each message to the relay is the delay in milliseconds.
import { connect, createServer, type Socket } from 'node:net';

let delayMs = 0;
process.on('message', (ms: number) => {
  delayMs = ms;
});

const relay = createServer((client) => {
  const upstream = connect(Number(process.argv[2]), '127.0.0.1');
  const pass = (from: Socket, to: Socket) => {
    from.on('data', (data) => setTimeout(() => to.write(data), delayMs / 2));
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
  };
  pass(client, upstream);
  pass(upstream, client);
});
relay.listen(0, '127.0.0.1', () => process.send?.((relay.address() as { port: number }).port));
