import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { datesIn, type HttpMessage, type Metadata, refusalIn } from './server-date.ts';
import type { Transport } from './transport.ts';

/** The SDK's `NodeHttpHandler`. Its configuration is empty until it has sent a request. */
interface HttpHandler {
  httpHandlerConfigs?(): Readonly<Partial<Record<'httpAgent' | 'httpsAgent', { readonly maxSockets?: number }>>>;
}

/** The SDK, once a transport needs the SDK. */
let sdk: Promise<typeof import('@aws-sdk/client-dynamodb')> | undefined;
function loadSdk() {
  sdk ??= import('@aws-sdk/client-dynamodb');
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
    const handler = this.#client.config?.requestHandler as HttpHandler | undefined;
    const { httpAgent, httpsAgent } = handler?.httpHandlerConfigs?.() ?? {};
    // The SDK makes the agent for plain HTTP only if the endpoint is plain HTTP.
    const { maxSockets = Infinity } = httpAgent ?? httpsAgent ?? {};
    return Number.isFinite(maxSockets) ? maxSockets : undefined;
  }

  async region(): Promise<string | undefined> {
    return this.#client.config.region().catch(() => undefined);
  }

  send: Transport['send'] = async (operation, input, signal, heard) => {
    const Command = (await loadSdk())[`${operation}Command`] as new (input: object) => { readonly input: object };
    const command = new Command(input);
    // Marks the input as leasehold's own request.
    Object.defineProperty(command.input, OURS, { value: heard });
    return this.#client.send(command as never, signal && { abortSignal: signal });
  };
}

/**
 * Makes a client keep the server's `Date` in the metadata of each answer, of refusals too (invariant 13). The middleware is
 * added once to the client, since a middleware for each command would cost a fiftieth of the call.
 *
 * If the server refuses a request for the time in its signature, the moments in the request are as wrong. The SDK would sign
 * the same body by the right time and send it again, and the store would apply a wrong clock's moments. So such a refusal is
 * thrown past the SDK's retries.
 */
function keepDates({ middlewareStack: stack }: DynamoDBClient): void {
  stack?.add(
    (next) => async (args) => {
      const request = args.request as HttpMessage;
      try {
        const result = await next(args);
        Object.assign(result.output?.$metadata ?? {}, datesIn(request, result.response as HttpMessage));
        return result;
      } catch (error) {
        const refusal = error as Error & { $response?: HttpMessage; $metadata?: object };
        if (refusal?.$response) refusal.$metadata = { ...refusal.$metadata, ...refusalIn(request, refusal) };
        throw error;
      }
    },
    { step: 'deserialize', priority: 'high', name: 'leaseholdServerDate', override: true },
  );
  stack?.addRelativeTo(watchAttempts, {
    relation: 'after',
    toMiddleware: 'retryMiddleware',
    name: 'leaseholdAttempts',
    override: true,
  });
}

/**
 * Marks the input of leasehold's requests. Holds the function that hears of each attempt's fault. The SDK still corrects the
 * user's own requests on the same client.
 */
const OURS = Symbol.for('leasehold.ours');
/** Tells of the fault of each attempt that the SDK makes, before the SDK decides whether to make another attempt. */
const watchAttempts =
  <Args extends object, Output>(next: (args: Args) => Promise<Output>) =>
  async (args: Args): Promise<Output> => {
    try {
      return await next(args);
    } catch (error) {
      const heard = (args as { input?: { [OURS]?: (fault: unknown) => void } }).input?.[OURS];
      heard?.(error);
      if (!(heard && (error as { $metadata?: Metadata } | undefined)?.$metadata?.misdated)) throw error;
      // The refusal itself would be a reason for the SDK to send again, also as a `cause`.
      throw new Error('refused for the time in its signature');
    }
  };
