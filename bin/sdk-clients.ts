/**
 * The bounds of the SDK's clients that the command makes for requests of its own. Without them, a request to a server that
 * accepts a connection and never answers would last for ever, and one without a way to the server for minutes.
 */
export const BOUNDS = {
  maxAttempts: 2,
  // Without `throwOnRequestTimeout`, the SDK prints a warning and waits on.
  requestHandler: { connectionTimeout: 3_000, requestTimeout: 5_000, throwOnRequestTimeout: true },
};
