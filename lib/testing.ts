export { FakeClock } from './testing/fake-clock.ts';
export { installMemoryStore } from './testing/install.ts';
export { MemoryLockStore } from './testing/memory.ts';
