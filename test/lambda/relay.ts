import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Carries connections to a server, and lets them die on demand, as the connections of a frozen environment do. */
export class Relay implements AsyncDisposable {
  endpoint = '';
  /** The number of connections so far. */
  connections = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((client) => {
    this.connections++;
    const server = connect(Number(this.#upstream.port), this.#upstream.hostname);
    client.pipe(server).pipe(client);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
  });
  readonly #upstream: URL;

  private constructor(upstream: string) {
    this.#upstream = new URL(upstream);
  }

  static async to(upstream: string): Promise<Relay> {
    const relay = new Relay(upstream);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    relay.endpoint = `http://127.0.0.1:${(relay.#server.address() as AddressInfo).port}`;
    return relay;
  }

  /** Closes every connection at both ends. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Silences every connection that there is: nothing arrives any more, and neither end is told. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server, 'close');
  }
}
