import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { DatedAnswer } from '../record/store.ts';

/** The metadata of an answer. The SDK writes `attempts`; leasehold writes the rest. */
export interface Metadata extends DatedAnswer {
  readonly attempts?: number | undefined;
  /** The server refused the request for the time in its signature. */
  readonly misdated?: boolean | undefined;
}

export const datesOf = ({ serverDate, relayed }: Metadata = {}): DatedAnswer => ({ serverDate, relayed });

interface HttpMessage {
  readonly protocol?: string;
  readonly hostname?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** AWS's own public endpoints in all partitions. Their `Date` is DynamoDB's. */
const AWS_HOST = /\.(amazonaws\.com(\.cn)?|api\.aws)$/;
/** The names that AWS and its SDKs give to refusals of a signature. A wrong time in the signature is one reason for them. */
const SIGNATURE_REFUSALS =
  /^(AuthFailure|InvalidSignature|Request(Expired|InTheFuture|TimeTooSkewed)|SignatureDoesNot)/;
/** A refused signature whose time is off by less was refused for another reason. */
const MISDATED_MS = 60_000;

/**
 * Makes a client keep the server's `Date` in the metadata of each answer, of refusals too (invariant 13). The middleware is
 * added once to the client, since a middleware for each command would cost a fiftieth of the call.
 *
 * If the server refuses a request for the time in its signature, the moments in the request are as wrong. The SDK would sign
 * the same body by the right time and send it again, and the store would apply a wrong clock's moments. So such a refusal is
 * thrown past the SDK's retries.
 */
export function keepDates({ middlewareStack: stack }: DynamoDBClient): void {
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

function datesIn({ protocol, hostname = '' }: HttpMessage, response: HttpMessage | undefined): DatedAnswer {
  const { date = '', age } = response?.headers ?? {};
  const ms = Date.parse(date);
  // The answer of a cache has the date at which the cache received the answer.
  if (Number.isNaN(ms) || age !== undefined) return {};
  return { serverDate: ms, relayed: protocol !== 'https:' || !AWS_HOST.test(hostname) };
}

function refusalIn(request: HttpMessage, { name, message, $response }: Error & { $response?: HttpMessage }): Metadata {
  const dates = datesIn(request, $response);
  if (!SIGNATURE_REFUSALS.test(name)) return dates;
  // "Signature not yet current: 20260101T010000Z is still later than 20260101T001500Z (20260101T000000Z + 15 min.)"
  const { serverDate = basicTime(/\((\w+) [+-]/.exec(message)?.[1]) } = dates;
  const offMs = basicTime(request.headers?.['x-amz-date']) - serverDate;
  return { ...dates, serverDate: serverDate || undefined, misdated: Math.abs(offMs) > MISDATED_MS };
}

/** Parses a time in UTC in ISO 8601's basic form, which signatures use: `20260101T000000Z`. */
const basicTime = (text = ''): number => Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));

/**
 * Marks the input of a command as leasehold's own request.
 * @param heard hears of the fault of each attempt that the SDK makes.
 */
export function markOurs(command: { readonly input: object }, heard: (fault: unknown) => void): void {
  Object.defineProperty(command.input, OURS, { value: heard });
}
