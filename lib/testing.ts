export { FakeClock } from './lease/fake-clock.ts';
export { MemoryLockStore } from './store/memory.ts';
