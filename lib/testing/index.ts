export { FakeClock } from './fake-clock.ts';
export { MemoryLockStore } from './memory.ts';
