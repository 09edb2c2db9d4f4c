import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { keepDates, markOurs, maxSocketsOf } from '../aws/sdk-client.ts';
import type { Transport } from './transport.ts';

/** The SDK, once a transport needs the SDK. */
let sdk: Promise<typeof import('@aws-sdk/client-dynamodb')> | undefined;
function loadSdk() {
  // With a `catch`, a bundler takes a package that is not installed for one that is found, or missed, at run time.
  sdk ??= import('@aws-sdk/client-dynamodb').catch((error) => {
    throw error;
  });
  return sdk;
}

/**
 * Makes a client of the store's own. It makes one attempt at each request, since leasehold itself sends a request again.
 * @param needed the reason for which the SDK is needed. The error of an SDK that is missing tells the reason.
 */
export async function ownClient(needed: string): Promise<DynamoDBClient> {
  const { DynamoDBClient } = await loadSdk().catch((error) => {
    throw Object.assign(error, { needed });
  });
  return new DynamoDBClient({ maxAttempts: 1 });
}

/** Sends requests through a client of the SDK. */
export class SdkTransport implements Transport {
  readonly #client: DynamoDBClient;

  constructor(client: DynamoDBClient) {
    this.#client = client;
    keepDates(client);
    // Whoever made the client has loaded the SDK. The first request reports an SDK that is missing.
    loadSdk().catch(() => {});
  }

  get maxSockets(): number | undefined {
    return maxSocketsOf(this.#client);
  }

  async region(): Promise<string | undefined> {
    return this.#client.config.region().catch(() => undefined);
  }

  send: Transport['send'] = async (operation, input, signal, heard) => {
    const Command = (await loadSdk())[`${operation}Command`] as new (input: object) => { readonly input: object };
    const command = markOurs(new Command(input), heard);
    return this.#client.send(command as never, signal && { abortSignal: signal });
  };
}
