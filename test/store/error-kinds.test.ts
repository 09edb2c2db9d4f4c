import * as sdk from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from '@jest/globals';
import { type FaultKind, kindOf } from '../../lib/aws/faults.ts';

/** Every error of the SDK's model of DynamoDB. `refused` is the answer of a condition, and no fault. */
const KINDS: Readonly<Record<string, FaultKind | 'refused'>> = {
  BackupInUseException: 'lasting',
  BackupNotFoundException: 'lasting',
  ConditionalCheckFailedException: 'refused',
  ContinuousBackupsUnavailableException: 'lasting',
  DuplicateItemException: 'lasting',
  ExportConflictException: 'lasting',
  ExportNotFoundException: 'lasting',
  GlobalTableAlreadyExistsException: 'lasting',
  GlobalTableNotFoundException: 'lasting',
  IdempotentParameterMismatchException: 'lasting',
  ImportConflictException: 'lasting',
  ImportNotFoundException: 'lasting',
  IndexNotFoundException: 'lasting',
  InternalServerError: 'passing',
  InvalidEndpointException: 'lasting',
  InvalidExportTimeException: 'lasting',
  InvalidRestoreTimeException: 'lasting',
  ItemCollectionSizeLimitExceededException: 'lasting',
  LimitExceededException: 'passing',
  PointInTimeRecoveryUnavailableException: 'lasting',
  PolicyNotFoundException: 'lasting',
  ProvisionedThroughputExceededException: 'passing',
  ReplicaAlreadyExistsException: 'lasting',
  ReplicaNotFoundException: 'lasting',
  ReplicatedWriteConflictException: 'conflict',
  RequestLimitExceeded: 'passing',
  ResourceInUseException: 'lasting',
  ResourceNotFoundException: 'lasting',
  TableAlreadyExistsException: 'lasting',
  TableInUseException: 'lasting',
  TableNotFoundException: 'lasting',
  ThrottlingException: 'passing',
  TransactionCanceledException: 'lasting',
  TransactionConflictException: 'conflict',
  TransactionInProgressException: 'passing',
};

type ErrorClass = new (options: { message: string; $metadata: object }) => sdk.DynamoDBServiceException;
const modelled = Object.values(sdk as object).filter(
  (value): value is ErrorClass =>
    typeof value === 'function' && value.prototype instanceof sdk.DynamoDBServiceException,
);
const thrown = (of: ErrorClass) => new of({ message: '', $metadata: {} });

test("the table has every error of the SDK's model, and no other", () => {
  expect(modelled.map((of) => thrown(of).name).sort()).toEqual(Object.keys(KINDS).sort());
});

test.each(modelled.map((of) => [thrown(of).name, thrown(of)] as const))(
  '%s is judged as the table says',
  (name, error) => {
    expect(kindOf(error)).toBe(KINDS[name] === 'refused' ? 'lasting' : KINDS[name]);
  },
);

const answer = (name: string, httpStatusCode = 400) => ({
  name,
  message: '',
  $fault: httpStatusCode < 500 ? 'client' : 'server',
  $response: {},
  $metadata: { httpStatusCode },
});

describe("an error of AWS's front ends", () => {
  test.each([
    'InternalFailure',
    'PriorRequestNotComplete',
    'RequestThrottled',
    'RequestThrottledException',
    'RequestTimeout',
    'RequestTimeoutException',
    'ServiceUnavailable',
    'SlowDown',
    'Throttling',
    'TooManyRequestsException',
  ])('%s passes', (name) => {
    expect(kindOf(answer(name))).toBe('passing');
  });

  test.each([
    'AccessDeniedException',
    'ExpiredTokenException',
    'IncompleteSignature',
    'MissingAuthenticationTokenException',
    'NotAuthorized',
    'OptInRequired',
    'UnrecognizedClientException',
    'ValidationException',
    'SerializationException',
    'a name of tomorrow',
  ])('%s lasts', (name) => {
    expect(kindOf(answer(name))).toBe('lasting');
  });

  test.each([429, 500, 502, 503, 504])('an answer of any name with the status %i passes', (status) => {
    expect(kindOf({ ...answer('SomethingNew', status), $fault: 'client' })).toBe('passing');
  });

  test('an answer that nobody can read passes', () => {
    const error = Object.assign(new SyntaxError('Unexpected token <'), { $metadata: { httpStatusCode: 200 } });
    // The SDK hides the answer in its errors.
    Object.defineProperty(error, '$response', { value: {}, enumerable: false });
    expect(kindOf(error)).toBe('passing');
  });
});

describe('an error without an answer', () => {
  const coded = (code: string) => Object.assign(new Error(code), { code });

  test.each([
    'ECONNRESET',
    'ECONNREFUSED',
    'ECONNABORTED',
    'EPIPE',
    'ETIMEDOUT',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'EAI_AGAIN',
    'EADDRNOTAVAIL',
    'EMFILE',
    'ENOBUFS',
    'EPROTO',
    'UND_ERR_SOCKET',
    'ERR_HTTP2_STREAM_ERROR',
    'ERR_STREAM_PREMATURE_CLOSE',
  ])('%s of a connection passes', (code) => {
    expect(kindOf(coded(code))).toBe('passing');
    expect(kindOf(new TypeError('terminated', { cause: coded(code) }))).toBe('passing');
  });

  test.each(['TimeoutError', 'AbortError'])('a %s passes', (name) => {
    expect(kindOf(Object.assign(new Error('no answer'), { name }))).toBe('passing');
  });

  test.each([
    [
      'missing credentials',
      Object.assign(new Error('Could not load credentials'), { name: 'CredentialsProviderError' }),
    ],
    ['a missing Region', new Error('Region is missing')],
    ['credentials that are none', new Error('Resolved credential object is not valid')],
    ['a host that does not exist', coded('ENOTFOUND')],
    ['a profile that does not exist', coded('ENOENT')],
    ['an endpoint that is none', Object.assign(new TypeError('Invalid URL'), { code: 'ERR_INVALID_URL' })],
    ['a certificate of another host', coded('ERR_TLS_CERT_ALTNAME_INVALID')],
    ['a client that is none', new TypeError("Cannot destructure property 'Item' of undefined")],
  ])('%s lasts', (_, error) => {
    expect(kindOf(error as never)).toBe('lasting');
  });
});
