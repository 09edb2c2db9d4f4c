import { hostname } from 'node:os';

/** Names a function as the owner of a lock. The contexts of tests leave parts out. */
export function ownerOf(name: string, version: string | undefined, ...more: (string | undefined)[]): string {
  return [version ? `${name}:${version}` : name, ...more].filter(Boolean).join(' ');
}

/** The owner of a lock that is taken without an invocation and without the option: the function, or the process. */
export function defaultOwner(): string {
  const { AWS_LAMBDA_FUNCTION_NAME: name, AWS_LAMBDA_FUNCTION_VERSION: version } = process.env;
  if (name === undefined) return `${hostname()}:${process.pid}`;
  return ownerOf(name, version, process.env.AWS_LAMBDA_LOG_STREAM_NAME);
}
