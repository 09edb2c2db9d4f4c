import { datesIn, type HttpMessage, type Metadata, refusalIn } from './server-date.ts';

/** The part of every client of the SDK that leasehold uses. */
export interface SdkClient {
  readonly middlewareStack: {
    add(middleware: never, options: never): void;
    addRelativeTo(middleware: never, options: never): void;
  };
  readonly config: { readonly requestHandler: unknown };
}

/** The SDK's `NodeHttpHandler`. Its configuration is empty until it has sent a request. */
interface HttpHandler {
  httpHandlerConfigs?(): Readonly<Partial<Record<'httpAgent' | 'httpsAgent', { readonly maxSockets?: number }>>>;
}

/** The sockets that a client's requests may use. Undefined until the first request, or if there is no bound. */
export function maxSocketsOf({ config }: Partial<SdkClient>): number | undefined {
  const handler = config?.requestHandler as HttpHandler | undefined;
  const { httpAgent, httpsAgent } = handler?.httpHandlerConfigs?.() ?? {};
  // The SDK makes the agent for plain HTTP only if the endpoint is plain HTTP.
  const { maxSockets = Infinity } = httpAgent ?? httpsAgent ?? {};
  return Number.isFinite(maxSockets) ? maxSockets : undefined;
}

interface Answered {
  readonly response: unknown;
  readonly output?: { readonly $metadata?: object };
}
type Step<Args, Output> = (next: (args: Args) => Promise<Output>) => (args: Args) => Promise<Output>;

/** Keeps the server's `Date` in the metadata of each answer, of refusals too (invariant 13). */
const readDates: Step<{ readonly request: unknown }, Answered> = (next) => async (args) => {
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
};

/**
 * Marks the input of leasehold's requests. Holds the function that hears of each attempt's fault. The SDK still corrects the
 * user's own requests on the same client.
 */
const OURS = Symbol.for('leasehold.ours');

/**
 * Marks a command as leasehold's own request.
 * @param heard hears of the fault of each attempt.
 * @param isCopied true if the service's own middleware copies the input, and only what is enumerable there.
 */
export function markOurs<Command extends { readonly input: object }>(
  command: Command,
  heard: (fault: unknown) => void,
  isCopied = false,
): Command {
  Object.defineProperty(command.input, OURS, { value: heard, enumerable: isCopied });
  return command;
}

/** Tells of the fault of each attempt that the SDK makes, before the SDK decides whether to make another attempt. */
const watchAttempts: Step<object, unknown> = (next) => async (args) => {
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

/**
 * Makes a client keep the dates of its answers. The middleware is added once to the client, since a middleware for each
 * command would cost a fiftieth of the call.
 *
 * If the server refuses a request for the time in its signature, the moments in the request are as wrong. The SDK would sign
 * the same body by the right time and send it again, and the store would apply a wrong clock's moments. So such a refusal is
 * thrown past the SDK's retries.
 */
export function keepDates({ middlewareStack: stack }: Partial<SdkClient>): void {
  const first = { step: 'deserialize', priority: 'high', name: 'leaseholdServerDate', override: true };
  stack?.add(readDates as never, first as never);
  const inEachAttempt = {
    relation: 'after',
    toMiddleware: 'retryMiddleware',
    name: 'leaseholdAttempts',
    override: true,
  };
  stack?.addRelativeTo(watchAttempts as never, inEachAttempt as never);
}
