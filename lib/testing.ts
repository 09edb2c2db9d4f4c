export { FakeClock } from './testing/fake-clock.ts';
export { MemoryLockStore } from './testing/memory.ts';
