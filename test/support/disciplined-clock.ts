import { type Clock, systemClock } from '../../lib/lease/clock.ts';

/** The process's own clocks, as on Lambda: no answer need judge them before a moment is written by them. */
export const disciplinedClock: Clock = { ...systemClock, isDisciplined: true };
