// The way to DynamoDB as the environment tells it: on Lambda, on ECS and on EKS, and wherever the keys stand in the
// environment. Everything else is left to the SDK, which knows all ways.

import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { show } from '../record/check.ts';
import { agentFor, exchange, unbracketed } from './http.ts';
import type { Credentials } from './sigv4.ts';

/** The way to a table. */
export interface Way {
  readonly region: string;
  /** @param heard hears of each fault after which the credentials are asked for again. */
  credentials(heard?: Heard): Promise<Credentials>;
  /** Gives the endpoint for the credentials' account. */
  endpoint(credentials: Credentials): URL;
}

type Heard = (fault: unknown) => void;

type Environment = Readonly<Record<string, string | undefined>>;

/** The Regions that have endpoints for each account, and their domains. */
const DOMAINS: readonly [regions: RegExp, domain: string][] = [
  [/^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$/, 'amazonaws.com'],
  [/^us-gov-(east|west)-1$/, 'amazonaws.com'],
  [/^cn-(north|northwest)-1$/, 'amazonaws.com.cn'],
];

/** Settings that change the endpoint, the credentials or the attempts in ways that only the SDK knows. */
const ONLY_THE_SDK: readonly [name: string, values: RegExp][] = [
  ['AWS_PROFILE', /./],
  // A part of the endpoint's name.
  ['AWS_ACCOUNT_ID', /\D/],
  ['AWS_CREDENTIAL_SCOPE', /./],
  ['AWS_USE_FIPS_ENDPOINT', /^true$/i],
  ['AWS_USE_DUALSTACK_ENDPOINT', /^true$/i],
  ['AWS_IGNORE_CONFIGURED_ENDPOINT_URLS', /^true$/i],
  ['AWS_ENABLE_ENDPOINT_DISCOVERY', /./],
  ['AWS_ENDPOINT_DISCOVERY_ENABLED', /./],
  ['AWS_RETRY_MODE', /^(?!standard$)/],
  ['AWS_ACCOUNT_ID_ENDPOINT_MODE', /^(?!(preferred|disabled)$)/],
];

/**
 * Reads the way to a table from the environment.
 * @returns undefined if the SDK has to find the way.
 */
export function wayIn(env: Environment, tableName: string): Way | undefined {
  const credentials = settingForSdk(env, tableName) === undefined ? credentialsIn(env) : undefined;
  if (credentials === undefined) return undefined;
  const { AWS_REGION: region = '', AWS_ACCOUNT_ID_ENDPOINT_MODE: mode } = env;
  const { url } = endpointIn(env);
  const [, , , , tableAccount] = tableName.split(':');
  return {
    region,
    credentials,
    endpoint: ({ accountId }) => {
      if (url) return new URL(url);
      const account = mode === 'disabled' ? undefined : (tableAccount ?? accountId);
      return new URL(`https://${account ? `${account}.ddb` : 'dynamodb'}.${region}.${domainOf(region)}`);
    },
  };
}

/** Says why the SDK has to find the way: the first setting that only the SDK can follow. */
export const whyTheSdk = (env: Environment, tableName: string): string =>
  settingForSdk(env, tableName) ?? 'no credentials are set';

function settingForSdk(env: Environment, tableName: string): string | undefined {
  const { AWS_REGION: region = '' } = env;
  if (region === '') return 'AWS_REGION is not set';
  if (domainOf(region) === undefined) return `AWS_REGION is ${show(region)}`;
  const [, , , tableRegion = region] = tableName.split(':');
  if (tableRegion !== region) return `the table is in ${show(tableRegion)}, and AWS_REGION is ${show(region)}`;
  const { url, name: endpoint } = endpointIn(env);
  if (url && !isPlain(url)) return `${endpoint} is no plain URL`;
  for (const [name, values] of ONLY_THE_SDK) {
    const value = env[name];
    if (value !== undefined && values.test(value)) return `${name} is ${show(value)}`;
  }
  const file = sharedFiles(env).find((path) => existsSync(path));
  return file && `there is a file ${show(file)}`;
}

const domainOf = (region: string): string | undefined => DOMAINS.find(([regions]) => regions.test(region))?.[1];

function endpointIn({ AWS_ENDPOINT_URL: ofAll, AWS_ENDPOINT_URL_DYNAMODB: ofDynamoDB }: Environment) {
  return ofDynamoDB ? { name: 'AWS_ENDPOINT_URL_DYNAMODB', url: ofDynamoDB } : { name: 'AWS_ENDPOINT_URL', url: ofAll };
}

/** Tells whether a custom endpoint is a URL whose signature needs no escapes. */
const isPlain = (url: string): boolean => /^https?:\/\/[\w.:[\]-]+(\/[\w.-]+)*\/?$/.test(url) && URL.canParse(url);

/** The files of profiles. The SDK reads settings of all kinds there. */
function sharedFiles(env: Environment): string[] {
  const { AWS_CONFIG_FILE: config, AWS_SHARED_CREDENTIALS_FILE: credentials } = env;
  const folder = `${homeIn(env)}/.aws`;
  return [config || `${folder}/config`, credentials || `${folder}/credentials`];
}

/** Gives the folder that the SDK takes for the user's. */
function homeIn({ HOME, USERPROFILE, HOMEPATH, HOMEDRIVE = 'C:' }: Environment): string {
  if (HOME || USERPROFILE) return HOME || (USERPROFILE as string);
  if (HOMEPATH) return `${HOMEDRIVE}${HOMEPATH}`;
  try {
    return homedir();
  } catch {
    // The user of some containers has no name and no home, and so no files.
    return '';
  }
}

/** Gives the source of the credentials, as far as it is the environment itself or the endpoint of a container. */
function credentialsIn(env: Environment): Way['credentials'] | undefined {
  if (keysIn(env)) {
    return async () => keysIn(env) ?? fail('AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is no longer set');
  }
  const { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: relative, AWS_CONTAINER_CREDENTIALS_FULL_URI: full } = env;
  const { AWS_WEB_IDENTITY_TOKEN_FILE: comesBefore } = env;
  const address = relative ? `http://169.254.170.2${relative}` : full;
  if (comesBefore || !address || !URL.canParse(address)) return undefined;
  const url = new URL(address);
  return mayHearTokens(url) ? new Container(url, env).credentials : undefined;
}

function keysIn(env: Environment): Credentials | undefined {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  const { AWS_SESSION_TOKEN: sessionToken, AWS_ACCOUNT_ID: accountId } = env;
  return accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey, sessionToken, accountId } : undefined;
}

/** The hosts that the SDK asks without TLS: this host, and the agents of ECS and EKS. */
const mayHearTokens = ({ protocol, hostname }: URL): boolean =>
  protocol === 'https:' ||
  /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|169\.254\.170\.23?|\[fd00:ec2::23\])$/.test(hostname);

function fail(why: string): never {
  throw Object.assign(new Error(`${why}.`), { name: 'CredentialsProviderError' });
}

/** The credentials end at a moment, and are asked for again this long before. */
const AHEAD_MS = 5 * 60_000;
const ATTEMPT_MS = 1_000;
/** The pauses before the second attempt and the later ones: an agent may be starting, or refuse a crowd of containers. */
const PAUSES_MS = [100, 1_000, 2_000];

/** The credentials that the agent of a container gives out. */
class Container {
  readonly #url: URL;
  readonly #env: Environment;
  #held: Credentials | undefined;
  #expiresAt = 0;
  #asking: Promise<Credentials> | undefined;
  /** The last fault of the asking. */
  #fault: unknown;
  /** Those who wait for the answer. */
  readonly #waiting = new Set<Heard>();

  constructor(url: URL, env: Environment) {
    this.#url = url;
    this.#env = env;
  }

  /** While the credentials that are held are good, no request waits for newer ones. */
  readonly credentials = async (heard: Heard = () => {}): Promise<Credentials> => {
    const leftMs = this.#expiresAt - Date.now();
    if (this.#held && leftMs > AHEAD_MS) return this.#held;
    const isWaiting = !this.#held || leftMs <= 0;
    if (isWaiting) this.#waiting.add(heard);
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
      this.#fault = undefined;
      this.#waiting.clear();
    });
    this.#asking.catch(() => {});
    if (!isWaiting) return this.#held as Credentials;
    // The asking lasts longer than one sending of a request. A later sending tells of the same fault.
    if (this.#fault !== undefined) heard(this.#fault);
    return this.#asking;
  };

  async #ask(): Promise<Credentials> {
    for (const pauseMs of PAUSES_MS) {
      try {
        return await this.#askOnce();
      } catch (fault) {
        this.#fault = fault;
        for (const heard of this.#waiting) heard(fault);
      }
      await new Promise((over) => {
        const timer = setTimeout(over, pauseMs);
        // A process that only renews credentials may end.
        if (this.#waiting.size === 0) timer.unref();
      });
    }
    return this.#askOnce();
  }

  async #askOnce(): Promise<Credentials> {
    try {
      return await this.#read();
    } catch (fault) {
      return fail(`the credentials of the container could not be read from ${this.#url.origin}: ${fault}`);
    }
  }

  async #read(): Promise<Credentials> {
    const { AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: file, AWS_CONTAINER_AUTHORIZATION_TOKEN: token } = this.#env;
    const authorization = file ? readFileSync(file, 'utf8') : token;
    const { protocol, hostname, port, pathname, search } = this.#url;
    const request = {
      protocol,
      hostname: unbracketed(hostname),
      port,
      path: pathname + search,
      headers: authorization ? { authorization } : {},
      agent: agentFor(protocol),
    };
    const { statusCode, body } = await exchange(request, undefined, AbortSignal.timeout(ATTEMPT_MS));
    if (statusCode !== 200) throw new Error(`the status was ${statusCode}`);
    // A fault's text must not show what was answered: it may be a part of a secret.
    const answer = parsed(body);
    // The SDK leaves the answer's AccountId alone, so a cluster may have no way to the endpoint of the account.
    const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken, Expiration } = answer;
    const expiresAt = Date.parse(Expiration ?? '');
    if (!accessKeyId || !secretAccessKey || !sessionToken || Number.isNaN(expiresAt)) {
      throw new Error('the answer has not AccessKeyId, SecretAccessKey, Token and Expiration');
    }
    this.#expiresAt = expiresAt;
    this.#held = { accessKeyId, secretAccessKey, sessionToken };
    return this.#held;
  }
}

function parsed(body: string): Record<string, string | undefined> {
  try {
    return JSON.parse(body) ?? {};
  } catch {
    return {};
  }
}
