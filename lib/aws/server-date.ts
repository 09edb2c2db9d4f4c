import type { DatedAnswer } from '../record/store.ts';

/** The metadata of an answer. The SDK writes `attempts`; leasehold writes the rest. */
export interface Metadata extends DatedAnswer {
  readonly attempts?: number | undefined;
  /** The server refused the request for the time in its signature. */
  readonly misdated?: boolean | undefined;
  /** The server that a refused request was sent to. */
  readonly endpoint?: string | undefined;
}

export const datesOf = ({ serverDate, relayed }: Metadata = {}): DatedAnswer => ({ serverDate, relayed });

/** A request or an answer of HTTP, as far as dates concern it. */
export interface HttpMessage {
  readonly protocol?: string;
  readonly hostname?: string;
  readonly port?: number | string | undefined;
  readonly headers?: Readonly<Record<string, string | string[] | undefined>>;
}

/** AWS's own public endpoints in all partitions. Their `Date` is DynamoDB's. */
const AWS_HOST = /\.(amazonaws\.com(\.cn)?|api\.aws)$/;
/** The names that AWS and its SDKs give to refusals of a signature. A wrong time in the signature is one reason for them. */
const SIGNATURE_REFUSALS =
  /^(AuthFailure|InvalidSignature|Request(Expired|InTheFuture|TimeTooSkewed)|SignatureDoesNot)/;
/** A refused signature whose time is off by less was refused for another reason. */
const MISDATED_MS = 60_000;

/** Reads the server's time from an answer. */
export function datesIn({ protocol, hostname = '' }: HttpMessage, response: HttpMessage | undefined): DatedAnswer {
  const { date, age } = response?.headers ?? {};
  const ms = Date.parse(String(date));
  // The answer of a cache has the date at which the cache received the answer.
  if (Number.isNaN(ms) || age !== undefined) return {};
  return { serverDate: ms, relayed: protocol !== 'https:' || !AWS_HOST.test(hostname) };
}

const endpointOf = ({ protocol, hostname, port }: HttpMessage) => `${protocol}//${hostname}${port ? `:${port}` : ''}`;

/** Reads the server's time from a refusal, and whether the time in the signature was the reason. Names the server. */
export function refusalIn(
  request: HttpMessage,
  { name, message, $response }: Error & { $response?: HttpMessage },
): Metadata {
  const dates = { ...datesIn(request, $response), endpoint: endpointOf(request) };
  if (!SIGNATURE_REFUSALS.test(name)) return dates;
  // "Signature not yet current: 20260101T010000Z is still later than 20260101T001500Z (20260101T000000Z + 15 min.)"
  const { serverDate = basicTime(/\((\w+) [+-]/.exec(message)?.[1]) } = dates as DatedAnswer;
  const offMs = basicTime(String(request.headers?.['x-amz-date'])) - serverDate;
  return { ...dates, serverDate: serverDate || undefined, misdated: Math.abs(offMs) > MISDATED_MS };
}

/** Parses a time in UTC in ISO 8601's basic form, which signatures use: `20260101T000000Z`. */
const basicTime = (text = ''): number => Date.parse(text.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
