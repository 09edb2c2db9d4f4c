const ignore = (): void => {};

/**
 * Calls a function of the user's that nobody waits for. Nothing of it ends the process (invariant 12).
 * @param failed gets what the function throws, and what it rejects with at whatever time, by a promise or any other
 *   thenable. Default: nobody is told.
 */
export function call(callback: () => unknown, failed: (error: unknown) => void = ignore): void {
  try {
    heed(callback(), failed);
  } catch (error) {
    failed(error);
  }
}

/**
 * Heeds a value that may be a thenable.
 * @param failed gets what the thenable rejects with. Default: nobody is told.
 */
export function heed(value: unknown, failed: (error: unknown) => void = ignore): void {
  Promise.resolve(value).then(undefined, failed);
}
