import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** A relay in front of a server on this machine, which loses answers and holds the traffic back as a network can. */
export class TcpRelay implements AsyncDisposable {
  readonly #upstreamPort: number;
  readonly #server = createServer((socket) => this.#relay(socket));
  readonly #sockets = new Set<Socket>();
  #answersToLose = 0;
  #isStalled = false;

  private constructor(upstreamPort: number) {
    this.#upstreamPort = upstreamPort;
  }

  static async start(upstreamPort: number): Promise<TcpRelay> {
    const relay = new TcpRelay(upstreamPort);
    await once(relay.#server.listen(0, '127.0.0.1'), 'listening');
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Breaks the connection at the next answers: the server has done the requests, and nobody learns of it. */
  loseAnswers(count = 1): void {
    this.#answersToLose = count;
  }

  /** Lets nothing through any more, and leaves the connections open. */
  stall(): void {
    this.#isStalled = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #relay(client: Socket): void {
    const server = connect(this.#upstreamPort, '127.0.0.1');
    const end = () => {
      client.destroy();
      server.destroy();
    };
    const pass = (from: Socket, to: Socket, isLost: () => boolean) => {
      this.#sockets.add(from);
      from.on('data', (data) => {
        if (this.#isStalled) return;
        if (isLost()) end();
        else to.write(data);
      });
      from.on('error', end);
      from.on('close', () => {
        this.#sockets.delete(from);
        end();
      });
    };
    pass(client, server, () => false);
    pass(server, client, () => this.#answersToLose > 0 && this.#answersToLose-- > 0);
  }
}
