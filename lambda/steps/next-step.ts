/**
 * The hand-off to the next step, for whose time the lock stays closed: longer than Step Functions tries to start the step.
 */
export const NEXT_STEP = { leaseMs: 60_000 };
