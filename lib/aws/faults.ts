import { show } from '../record/check.ts';
import type { Metadata } from './server-date.ts';

/** An error that the SDK threw, as far as its kind is known by it. */
export interface Thrown {
  readonly name?: string;
  readonly message?: string;
  readonly code?: unknown;
  readonly cause?: unknown;
  /** Of an `AggregateError`, which has no message: one error for each address of a host. */
  readonly errors?: readonly Error[];
  /** The reason for which the SDK, which is missing, is needed. */
  readonly needed?: string;
  readonly $fault?: string;
  readonly $response?: { readonly statusCode?: number };
  readonly $metadata?: Metadata & { readonly httpStatusCode?: number };
}

/**
 * The kind of an error.
 * - `conflict`: the request met another write of the item. Nothing was written, and the request may be sent again at once.
 * - `passing`: the same request may succeed a moment later.
 * - `lasting`: the same request will fail again, until somebody mends the cause.
 */
export type FaultKind = 'conflict' | 'passing' | 'lasting';

const CONFLICTS: ReadonlySet<string> = new Set([
  'TransactionConflictException',
  // Another Region writes the same item of a table with strong consistency across Regions.
  'ReplicatedWriteConflictException',
]);
/**
 * The refusals that pass, by the names that DynamoDB and AWS's front ends give them. Every other refusal with a status
 * under 500 is lasting.
 */
const PASSING: ReadonlySet<string> = new Set([
  'InternalFailure',
  'InternalServerError',
  'LimitExceededException',
  // The SDK's name for a 404 without a code. S3 gives a code: a proxy that knows no way to S3 answered.
  'NotFound',
  'PriorRequestNotComplete',
  'ProvisionedThroughputExceededException',
  'RequestLimitExceeded',
  'RequestThrottled',
  'RequestThrottledException',
  'RequestTimeout',
  'RequestTimeoutException',
  'RequestTimeTooSkewed',
  'ServiceUnavailable',
  'ServiceUnavailableException',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequestsException',
  'TransactionInProgressException',
]);

/**
 * The codes of a connection that broke, or that could not be made. A host that does not exist (`ENOTFOUND`) is none of them.
 */
const CONNECTION =
  /^(E(CONN|PIPE|TIME|HOST|NET|AI_AGAIN|ADDR|MFILE|NFILE|NOBUFS|PROTO|SERVFAIL|REFUSED)|UND_ERR|HPE_|ERR_(HTTP2|STREAM|SOCKET))/;

/**
 * Tells the kind of an error of the SDK:
 *
 * 1. An answer of the server is judged by its name and its status.
 * 2. An answer that nobody can read passes: a proxy cut the answer short, or put another answer in its place.
 * 3. Without an answer, only an error of the connection passes. Missing credentials, a missing Region and a client that is
 *    none last.
 */
export function kindOf(thrown: Thrown): FaultKind {
  // The SDK's errors have `$response` as a property that a rest pattern or a spread would leave out.
  const { name = '', message = '', code, cause, $fault, $response, $metadata } = thrown;
  const status = $metadata?.httpStatusCode ?? 0;
  const isPassing =
    PASSING.has(name) ||
    $fault === 'server' ||
    status >= 500 ||
    status === 429 ||
    ($fault === undefined &&
      ($response !== undefined ||
        /^(Timeout|Abort)Error$/.test(name) ||
        CONNECTION.test(String(code ?? (cause as Thrown | undefined)?.code)) ||
        /http2|fetch failed/i.test(message)));
  if (CONFLICTS.has(name)) return 'conflict';
  return isPassing ? 'passing' : 'lasting';
}

/** A service of AWS, as far as advice concerns it. */
export interface Service {
  readonly name: string;
  /** The package of its client. */
  readonly client: string;
  /** The environment variable of its endpoint. */
  readonly endpoint: string;
  /** The thing that has the locks. */
  readonly place: string;
}

/**
 * Tells whether an answer is none of the service's, whose refusals have a name. The answer may be a page of a proxy, or a redirect
 * of another server. An answer that a broken connection cut off has a code.
 */
const isForeignAnswer = ({ name = '', code, $fault, $response }: Thrown): boolean =>
  $response !== undefined && (/^(Unknown|NotFound)$/.test(name) || ($fault === undefined && code === undefined));

/** The names that DynamoDB and AWS's front ends give to refused credentials. */
const REFUSED_CREDENTIALS =
  /^(UnrecognizedClient|InvalidClientToken|InvalidSignature|SignatureDoesNot|IncompleteSignature|MissingAuthenticationToken)/;

/** Says what to set, for a request that was not sent, or was refused, for the process's own settings. */
function adviceFor(thrown: Thrown, { client, endpoint, place }: Service): string {
  const { name = '', message = '', code, needed } = thrown;
  const { AWS_PROFILE: profile } = process.env;
  if (isForeignAnswer(thrown)) return `check AWS_ENDPOINT_URL, ${endpoint} and the proxies on the way. `;
  if (/^ExpiredToken/.test(name)) return 'the credentials have expired: log in again, or give new ones. ';
  if (REFUSED_CREDENTIALS.test(name)) {
    return 'mend the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, the profile, or the client. ';
  }
  if (/^Region /.test(message)) return `set AWS_REGION to the ${place}'s Region, or give a client that has it. `;
  // AWS_REGION=local leads to localhost.
  if (code === 'ENOTFOUND' || code === 'ECONNREFUSED') {
    return `check AWS_REGION, AWS_ENDPOINT_URL, ${endpoint} and the network. `;
  }
  if (name === 'CredentialsProviderError') {
    const settings = profile
      ? `mend AWS_PROFILE=${show(profile)} or that profile`
      : 'set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY';
    return `${settings}, log in, or give a client that has credentials. `;
  }
  if (/MODULE_NOT_FOUND/.test(String(code))) {
    const why = needed ? `${needed}, for which the AWS SDK is needed: mend the setting, or ` : '';
    return `${why}run \`npm install ${client}\`. `;
  }
  return /Invalid URL/.test(message) ? `mend AWS_ENDPOINT_URL or ${endpoint}. ` : '';
}

/**
 * Says who failed at a request, and what to do.
 * @param request the operation and the place.
 */
export function messageOf(thrown: Thrown, request: string, service: Service): string {
  const { name = '', message = '', errors = [], $fault, $response, $metadata } = thrown;
  let text = `${service.name} ${$fault === 'client' ? 'refused' : 'did not answer'} ${request}`;
  if (isForeignAnswer(thrown)) {
    const { statusCode } = $response ?? {};
    text = `${$metadata?.endpoint ?? 'Another server'} answered ${request} with the status ${statusCode}, and not as ${service.name} does`;
  } else if ($fault === undefined && $response === undefined && kindOf(thrown) === 'lasting') {
    text = `${request} could not be sent`;
  }
  const said = message || errors.map((error) => error.message).join(', ');
  return `${text}: ${adviceFor(thrown, service)}${name}: ${said}`;
}
