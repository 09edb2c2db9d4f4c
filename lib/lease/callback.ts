const ignore = (): void => {};

/**
 * Calls a function of the user's that nobody waits for. No error of the function ends the process (invariant 12).
 * @param failed receives the error that the function throws, or that its promise or other thenable rejects with, at whatever
 *   time. Default: nobody is told.
 */
export function call(callback: () => unknown, failed: (error: unknown) => void = ignore): void {
  try {
    heed(callback(), failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Handles the rejection of a value that may be a thenable.
 * @param failed receives the error that the thenable rejects with. Default: nobody is told.
 */
export function heed(value: unknown, failed: (error: unknown) => void = ignore): void {
  Promise.resolve(value).then(undefined, failed);
}
