const ignore = (): void => {};

/**
 * Calls a function of the user's that nobody waits for. What it throws goes to `failed`, and so does what it rejects with,
 * at whatever time, by a promise or any other thenable; by default to nobody. Nothing of it ends the process (invariant 12).
 */
export function call(callback: () => unknown, failed: (error: unknown) => void = ignore): void {
  try {
    heed(callback(), failed);
  } catch (error) {
    failed(error);
  }
}

/** Heeds a value that may be a thenable: what it rejects with goes to `failed`. Default: to nobody. */
export function heed(value: unknown, failed: (error: unknown) => void = ignore): void {
  Promise.resolve(value).then(undefined, failed);
}
