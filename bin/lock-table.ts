/** Locks as the rows of a table that fits the terminal, for `ls` and `watch`. */
import type { LockState } from '../lib/index.ts';
import { printable } from '../lib/record/check.ts';
import { type State, stateOf } from './describe.ts';
import { fitted, shownDuration, styled } from './terminal.ts';

/** The colours of the states. */
export const COLORS = {
  held: 'green',
  expired: 'yellow',
  closed: 'yellow',
  free: 'dim',
  bad: 'red',
} as const satisfies Record<State, string>;

/** A lock, and the moment by the local clock at which it was read: a watcher counts on between two reads. */
export interface Row {
  readonly lock: LockState;
  readonly readAt: number;
}

interface Column {
  readonly title: string;
  readonly width: number;
  cell(row: Row): string;
}

const leftMs = ({ lock, readAt }: Row): number => Math.max(0, lock.opensInMs - (Date.now() - readAt));

/** The time left as a part of the lease, as a bar, and in words. */
function bar(row: Row, width: number): string {
  const left = leftMs(row);
  if (left === 0) return '';
  const full = Math.min(width, Math.round((left / Math.max(row.lock.leaseMs, 1)) * width));
  return '█'.repeat(full) + '░'.repeat(width - full);
}

const since = ({ lock }: Row): string => {
  const ms = Date.now() - lock.acquiredAt;
  return lock.held && ms >= 0 && Number.isFinite(ms) ? shownDuration(ms) : '';
};

const left = (row: Row): string => (leftMs(row) > 0 ? shownDuration(leftMs(row)) : '');

/** A state, and a plus sign if a run is owed besides. */
const stateCell = ({ lock }: Row): string => `${stateOf(lock)}${lock.owed ? '+owed' : ''}`;

/** The columns for a width: the narrower the terminal, the fewer. The key takes the rest. */
function columnsFor(width: number): readonly Column[] {
  const state: Column = { title: 'STATE', width: width < 60 ? 8 : 12, cell: stateCell };
  const opensIn: Column = { title: 'OPENS IN', width: 11, cell: left };
  const owner: Column = {
    title: 'HOLDER',
    width: Math.min(40, Math.floor(width / 4)),
    cell: ({ lock }) => (lock.lockId === undefined ? '' : (lock.owner ?? '')),
  };
  const timeLeft: Column = {
    title: '',
    width: Math.min(20, Math.floor(width / 8)),
    cell: (row) => bar(row, timeLeft.width),
  };
  const held: Column = { title: 'SINCE', width: 12, cell: since };
  const token: Column = { title: 'TOKEN', width: 16, cell: ({ lock }) => String(lock.fencingToken) };
  if (width < 30) return [state];
  if (width < 60) return [state, opensIn];
  if (width < 110) return [state, owner, timeLeft, opensIn];
  return [state, owner, held, timeLeft, opensIn, token];
}

/** Lays out rows for a terminal of a width. */
export class LockTable {
  readonly #columns: readonly Column[];
  readonly #keyWidth: number;

  constructor(width: number) {
    this.#columns = columnsFor(width);
    const others = this.#columns.reduce((sum, column) => sum + column.width + 1, 0);
    this.#keyWidth = Math.max(8, width - others);
  }

  get header(): string {
    const titles = this.#columns.map(({ title, width }) => fitted(title, width));
    return styled('dim', [fitted('KEY', this.#keyWidth), ...titles].join(' ').trimEnd());
  }

  line(row: Row): string {
    const cells = this.#columns.map(({ cell, width }) => fitted(printable(cell(row)), width));
    const text = cells.join(' ').trimEnd();
    return `${fitted(printable(row.lock.key), this.#keyWidth)} ${styled(COLORS[stateOf(row.lock)], text)}`;
  }
}
