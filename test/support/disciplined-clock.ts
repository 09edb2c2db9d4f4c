import { type Clock, systemClock } from '../../lib/lease/clock.ts';

/** The process's own clock, disciplined as on Lambda, so no judge read comes first. For tests with a real server. */
export const disciplinedClock: Clock = { ...systemClock, isDisciplined: true };
