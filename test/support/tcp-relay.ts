import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** The faults that the next parts of the traffic in one direction meet. */
interface Faults {
  lost: number;
  delayed: number;
  delayMs: number;
}

/** A relay in front of a server on this machine, which loses answers and holds the traffic back as a network can. */
export class TcpRelay implements AsyncDisposable {
  readonly #upstreamPort: number;
  readonly #server = createServer((socket) => this.#relay(socket));
  readonly #sockets = new Set<Socket>();
  readonly #requests: Faults = { lost: 0, delayed: 0, delayMs: 0 };
  readonly #answers: Faults = { lost: 0, delayed: 0, delayMs: 0 };
  #isRefusing = false;
  #stalled: Promise<void> | undefined;
  #goOn = () => {};

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
    this.#answers.lost = count;
  }

  /** Breaks the connection at the next requests, which the server never gets. */
  loseRequests(count = 1): void {
    this.#requests.lost = count;
  }

  delayAnswers(count: number, ms: number): void {
    Object.assign(this.#answers, { delayed: count, delayMs: ms });
  }

  delayRequests(count: number, ms: number): void {
    Object.assign(this.#requests, { delayed: count, delayMs: ms });
  }

  /** Lets nothing through, and leaves the connections open. The traffic arrives late, after `mend`. */
  stall(): void {
    this.#stalled ??= new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  /** Breaks all connections, and refuses new ones. */
  refuse(): void {
    this.#isRefusing = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Ends all faults. */
  mend(): void {
    for (const faults of [this.#requests, this.#answers]) Object.assign(faults, { lost: 0, delayed: 0 });
    this.#isRefusing = false;
    this.#stalled = undefined;
    this.#goOn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.mend();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #relay(client: Socket): void {
    if (this.#isRefusing) {
      client.destroy();
      return;
    }
    const server = connect(this.#upstreamPort, '127.0.0.1');
    const end = () => {
      client.destroy();
      server.destroy();
    };
    this.#pass(client, server, this.#requests, end);
    this.#pass(server, client, this.#answers, end);
  }

  #pass(from: Socket, to: Socket, faults: Faults, end: () => void): void {
    let last = Promise.resolve();
    this.#sockets.add(from);
    from.on('data', (data) => {
      last = last.then(async () => {
        await this.#stalled;
        if (faults.lost > 0) {
          faults.lost--;
          end();
        }
        if (faults.delayed > 0) {
          faults.delayed--;
          await sleep(faults.delayMs, undefined, { ref: false });
        }
        if (!to.destroyed) to.write(data);
      });
    });
    from.on('error', () => {});
    from.on('close', () => {
      this.#sockets.delete(from);
      // A request that is on its way arrives although its sender is gone.
      void last.then(end);
    });
  }
}
