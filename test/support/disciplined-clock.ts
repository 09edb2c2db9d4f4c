import { type Clock, systemClock } from '../../lib/lease/clock.ts';

/** The process's own clocks, disciplined as on Lambda: no read judges them. For tests against a real server, in real time. */
export const disciplinedClock: Clock = { ...systemClock, isDisciplined: true };
